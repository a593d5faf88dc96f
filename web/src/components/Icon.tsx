/** Line icons on a 24 grid; they decorate a labelled control and are hidden from screen readers. */

const PATHS = {
  mark: "M6 10v4M10 7v10M14 9v6M18 11v2",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M8 8h8v8H8z",
  upload: "M4 12v1M8 9v7M12 5v14M16 9v7M20 12v1",
  muted: "M4 9.5h3l4.5-4v13l-4.5-4H4zM16 9.5l5 5M21 9.5l-5 5",
  sound: "M4 9.5h3l4.5-4v13l-4.5-4H4zM15.5 9a4.2 4.2 0 0 1 0 6M18.3 6.5a8 8 0 0 1 0 11",
  captions: "M4 5.5h16v13H4zM7.5 12h3M13 12h3.5M7.5 15h6M15.5 15h1",
  statistics: "M5 19v-6M12 19V5M19 19v-9",
  record: "M12 5a7 7 0 1 0 0 14 7 7 0 0 0 0-14z",
  fullscreen: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  shrink: "M9 4v5H4M15 4v5h5M9 20v-5H4M15 20v-5h5",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  moon: "M20 14.5A8.3 8.3 0 0 1 9.5 4a8.3 8.3 0 1 0 10.5 10.5z",
  close: "M6 6l12 12M18 6L6 18",
  chevron: "M7 10l5 5 5-5",
  person: "M10 4.5a3.75 3.75 0 1 0 0 7.5 3.75 3.75 0 0 0 0-7.5zM3.5 19.5c.6-3 3.2-4.7 6.5-4.7s5.9 1.7 6.5 4.7M19 7v6M16 10h6",
  clip: "M4 5.5h16v13H4zM10 9v6l5-3z",
  microphone: "M12 3.5a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0v-5a3 3 0 0 0-3-3zM5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3",
  microphoneOff: "M15 10V6.5a3 3 0 0 0-5.8-1M9 9v2.500a3 3 0 0 0 4.6 2.500M5.5 11.500a6.5 6.5 0 0 0 10.2 5.300M18.5 11.500a6.5 6.5 0 0 1-.6 2.700M12 18v3M4 4l16 16",
  press: "M9 13V6a1.5 1.5 0 0 1 3 0v5M12 10.500a1.5 1.5 0 0 1 3 0V12M15 11.500a1.5 1.5 0 0 1 3 0V15a6 6 0 0 1-6 6c-2.6 0-4.2-1.2-5.5-3.600L4.7 14a1.4 1.4 0 0 1 2.4-1.500L9 15",
  play: "M8 5.500v13l10.500-6.500z",
  pause: "M9 6v12M15 6v12",
  search: "M11 4.500a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13zM15.800 15.800L20 20",
  download: "M12 4v11M7 10.500l5 5 5-5M5 19.500h14",
  trash: "M4.500 7h15M9.500 7V4.500h5V7M6.500 7l.8 12.500h9.400L17.500 7M10 10.500v5.500M14 10.500v5.500",
  pencil: "M4.500 19.500l1-4L16 5l3 3L8.500 18.500z",
  plus: "M12 5v14M5 12h14",
  compass: "M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 0 0 0-17zM15.500 8.500l-2 5-5 2 2-5z",
  text: "M5 6.500V5h14v1.500M12 5v14M9.500 19h5",
  people: "M9 5a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7zM2.800 19c.5-2.800 3-4.500 6.200-4.500s5.700 1.700 6.200 4.500M15.500 5.300a3.500 3.500 0 0 1 0 6.400M18 14.900c1.800.7 2.900 2.100 3.200 4.100",
  back: "M14.500 6l-6 6 6 6",
  copy: "M8.500 8.500h11v11h-11zM15.500 8.500v-4h-11v11h4",
  check: "M5 12.500l4.500 4.500L19 7.500",
  key: "M14.500 4.500a5 5 0 1 0-3.800 8.300L9.500 14v2h-2v2h-2l-1 1.500h-1V17l6.200-6.200M16 8h.01",
  again: "M19 12a7 7 0 1 1-2-4.9M19.5 4v4h-4",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, filled = false }: { name: IconName; filled?: boolean }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false" fill={filled ? "currentColor" : "none"}>
      <path d={PATHS[name]} stroke="currentColor" strokeWidth="1.75" strokeLinecap="round" strokeLinejoin="round" />
    </svg>
  );
}

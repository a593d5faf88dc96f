/** The words about talking. */

import type { MicrophoneTrouble } from "./microphone";
import type { Note, Shown } from "./voice-state";

interface TroubleWords {
  title: string;
  remedy: string;
}

export const voiceEn = {
  turnOn: "Talk: switch the microphone on",
  turnOff: "Switch the microphone off",
  cancel: "Do not ask for the microphone",
  mute: "Mute the microphone",
  unmute: "Unmute the microphone",
  push: "Push-to-talk",
  pushHint: "Push-to-talk: hold the button or the space bar while you speak",
  hold: "Hold to talk",
  release: "Let go to send",
  status: "Microphone",
  shown: {
    off: "Microphone off",
    asking: "Allow the microphone in your browser…",
    waking: "Getting ready to listen…",
    silenced: "No sound: the microphone is muted on the device or in the system",
    muted: "Muted",
    hearing: "Hearing you…",
    thinking: "Thinking…",
    speaking: "Speaking. Talk to interrupt",
    hold: "Hold the button or the space bar to talk",
    held: "Speak now",
    listening: "Listening",
  } satisfies Record<Shown, string>,
  note: {
    nothing: "That was not understood. Please say it again.",
    waiting: "Take your time…",
  } satisfies Record<Note, string>,
  trouble: {
    insecure: { title: "The microphone needs HTTPS", remedy: "Browsers only allow it on secure pages. Open this page by https://, or as http://localhost on the server itself." },
    unsupported: { title: "This browser has no microphone access", remedy: "Open this page in a current version of Chrome, Edge, Firefox or Safari." },
    denied: { title: "The microphone is blocked", remedy: "Allow it in the address bar's site settings, then try again. Your text still works." },
    system: { title: "The system blocks the microphone", remedy: "Allow your browser to use the microphone in the system's privacy settings, then try again." },
    missing: { title: "No microphone was found", remedy: "Plug one in or choose one in the system's sound settings, then try again." },
    busy: { title: "The microphone is in use", remedy: "Another program holds it. Close that program, then try again." },
    unplugged: { title: "The microphone was unplugged", remedy: "Plug it in again or choose another one, then try again." },
    revoked: { title: "The microphone was switched off", remedy: "Its permission was taken back. Allow it in the address bar's site settings, then try again." },
    deaf: { title: "This server cannot listen yet", remedy: "You can type. Whoever runs the server can make it listen." },
    failed: { title: "The microphone does not work", remedy: "Try again, or choose another one in the system's sound settings." },
  } satisfies Record<MicrophoneTrouble, TroubleWords>,
  serverSays: "The server says:",
  browserSays: "The browser says:",
  tryAgain: "Try again",
  dismiss: "Close",
  latency: {
    title: "Answer time of the last turn",
    summary: (seconds: string) => `Answered in ${seconds} s`,
    turn: "End of turn",
    text: "First text",
    voice: "First sound",
    picture: "First picture",
    total: "In all",
    explain: "From your last word to the first sound and its picture",
  },
  error: {
    recogniser: "What you said could not be recognised.",
    model: "The language model is not there: nobody can answer yet.",
  },
};

export type VoiceWords = typeof voiceEn;

export const voiceZh: VoiceWords = {
  turnOn: "语音对话：打开麦克风",
  turnOff: "关闭麦克风",
  cancel: "取消请求麦克风",
  mute: "麦克风静音",
  unmute: "取消麦克风静音",
  push: "按住说话",
  pushHint: "按住说话：说话时按住按钮或空格键",
  hold: "按住说话",
  release: "松开发送",
  status: "麦克风",
  shown: {
    off: "麦克风已关闭",
    asking: "请在浏览器中允许使用麦克风……",
    waking: "正在准备聆听……",
    silenced: "没有声音：麦克风在设备或系统中被静音",
    muted: "已静音",
    hearing: "正在听你说……",
    thinking: "思考中……",
    speaking: "讲话中，开口即可打断",
    hold: "按住按钮或空格键说话",
    held: "请说话",
    listening: "聆听中",
  },
  note: { nothing: "没有听清，请再说一遍。", waiting: "不急，慢慢说……" },
  trouble: {
    insecure: { title: "麦克风需要 HTTPS", remedy: "浏览器只允许安全页面使用麦克风。请用 https:// 打开本页，或在服务器本机用 http://localhost 打开。" },
    unsupported: { title: "当前浏览器无法使用麦克风", remedy: "请使用新版 Chrome、Edge、Firefox 或 Safari 打开本页。" },
    denied: { title: "麦克风已被禁止", remedy: "请在地址栏的网站设置中允许使用麦克风，然后重试。文字输入不受影响。" },
    system: { title: "系统禁止使用麦克风", remedy: "请在系统的隐私设置中允许浏览器使用麦克风，然后重试。" },
    missing: { title: "没有找到麦克风", remedy: "请接入麦克风，或在系统声音设置中选择一个，然后重试。" },
    busy: { title: "麦克风被占用", remedy: "另一个程序正在使用麦克风。请关闭该程序，然后重试。" },
    unplugged: { title: "麦克风已拔出", remedy: "请重新接入或改选另一个麦克风，然后重试。" },
    revoked: { title: "麦克风已被关闭", remedy: "使用权限已被收回。请在地址栏的网站设置中允许使用麦克风，然后重试。" },
    deaf: { title: "此服务器还不能聆听", remedy: "你可以输入文字。服务器管理员可以启用语音识别。" },
    failed: { title: "麦克风无法使用", remedy: "请重试，或在系统声音设置中改选另一个麦克风。" },
  },
  serverSays: "服务器返回：",
  browserSays: "浏览器返回：",
  tryAgain: "重试",
  dismiss: "关闭",
  latency: {
    title: "上一轮应答用时",
    summary: (seconds) => `${seconds} 秒后应答`,
    turn: "判断说完",
    text: "首段文字",
    voice: "首个声音",
    picture: "首帧画面",
    total: "合计",
    explain: "从你的最后一个字到第一个声音和画面",
  },
  error: { recogniser: "没能识别你说的话。", model: "没有可用的语言模型，暂时无人应答。" },
};

/** The server's words about a failure, with a sentence of the page's language before those that are about talking. */
export function explained(said: string, words: VoiceWords): string {
  if (said.startsWith("recogniser")) return `${words.error.recogniser} (${said})`;
  if (/needs a language model|no language model/.test(said)) return `${words.error.model} (${said})`;
  return said;
}

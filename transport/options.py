"""`RtcOptions`: how this server meets its clients."""

from __future__ import annotations

import dataclasses

from aiortc import RTCIceServer

from transport.aiortc_fixes import HostOptions

VIDEO_CEILING_BPS = 2_000_000
CODECS = ("H264", "VP8")


@dataclasses.dataclass(frozen=True, slots=True)
class RtcOptions:
    """How this server meets its clients."""

    public_address: str | None = None
    """Address under which clients reach this machine when it is not one of its own."""
    udp_port_range: tuple[int, int] | None = None
    """First and last UDP port of media; None lets the system choose."""
    server_ice: tuple[RTCIceServer, ...] = ()
    """STUN and TURN servers this server itself asks; a STUN server that does not answer costs each connection 5 s."""
    video_bitrate_bps: int = VIDEO_CEILING_BPS
    """Most that a picture stream may take."""
    codecs: tuple[str, ...] = CODECS
    """Video codecs, the best first: `H264`, `VP8`."""

    @property
    def host(self) -> HostOptions:
        """Which host candidates to offer."""
        return HostOptions(self.public_address, self.udp_port_range)

    def __post_init__(self) -> None:
        unknown = [c for c in self.codecs if c not in CODECS]
        if unknown or not self.codecs:
            raise ValueError(f"video codecs {list(self.codecs)}: allowed are {list(CODECS)}")
        if self.udp_port_range is not None and not 0 < self.udp_port_range[0] <= self.udp_port_range[1] < 65536:
            raise ValueError(f"UDP port range {self.udp_port_range}: first and last port, 1 to 65535, in order")

"""`parse_offer`: is this an offer that can be answered, and if not, what would make it one."""

from __future__ import annotations

from aiortc.sdp import MediaDescription, SessionDescription

from errors import Unprocessable

SDP_CHARACTERS_MAX = 64_000  # browsers send 3,000 to 12,000
MEDIA_MAX = 16
CANDIDATES_MAX = 200  # each of them is sent packets; a browser on many networks has about 40
RECEIVING = ("recvonly", "sendrecv")


def parse_offer(sdp: str, type_: str) -> SessionDescription:
    """The parsed offer.

    Raises:
        Unprocessable: it is no offer, no SDP, lacks what a connection needs, or wants neither picture nor sound.
    """
    if type_ != "offer":
        raise Unprocessable(f"type: {type_[:20]!r} given, only 'offer' is answered")
    if not sdp.startswith("v=0") or len(sdp) > SDP_CHARACTERS_MAX:
        raise Unprocessable(
            f"sdp: not a session description: it must begin with 'v=0' and have at most {SDP_CHARACTERS_MAX} characters"
        )
    try:
        offer = SessionDescription.parse(sdp)
    except Exception as exc:  # aiortc's parser fails on garbage with whatever it stumbles over
        raise Unprocessable(f"sdp: cannot be parsed: {type(exc).__name__}: {str(exc)[:200]}") from exc
    if len(offer.media) > MEDIA_MAX:
        raise Unprocessable(f"sdp: {len(offer.media)} media sections, at most {MEDIA_MAX} are taken")
    candidates = sum(len(m.ice_candidates) for m in offer.media)
    if candidates > CANDIDATES_MAX:
        raise Unprocessable(f"sdp: {candidates} ICE candidates, at most {CANDIDATES_MAX} are taken")
    if not any(m.kind in ("audio", "video") and m.direction in RECEIVING for m in offer.media):
        raise Unprocessable("sdp: no audio or video section to receive: add recvonly transceivers before createOffer")
    for media in offer.media:
        _check(media)
    return offer


def _check(media: MediaDescription) -> None:
    if media.kind not in ("audio", "video", "application"):
        raise Unprocessable(f"sdp: media section of kind {media.kind[:20]!r}: audio, video and application are known")
    if media.ice is None or not media.ice.usernameFragment or not media.ice.password:
        raise Unprocessable(f"sdp: the {media.kind} section has no a=ice-ufrag and a=ice-pwd")
    if media.dtls is None or not media.dtls.fingerprints:
        raise Unprocessable(f"sdp: the {media.kind} section has no a=fingerprint")

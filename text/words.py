"""What is said for signs, formulas and addresses, in English and in Chinese."""

from __future__ import annotations

import re

Pair = tuple[str, str]
"""English, Chinese."""

CODE: Pair = ("You can read the code in the text.", "代码请看文字。")
"""Said in place of a block of code: nobody reads one out."""

WORDS: dict[str, Pair] = {
    "=": ("equals", "等于"), "+": ("plus", "加"), "*": ("times", "乘以"), "×": ("times", "乘以"),
    "÷": ("divided by", "除以"), "±": ("plus or minus", "正负"), "≈": ("is about", "约等于"),
    "≠": ("is not equal to", "不等于"), "≤": ("is at most", "小于等于"), "≥": ("is at least", "大于等于"),
    "<": ("is less than", "小于"), ">": ("is greater than", "大于"), "minus": ("minus", "减"),
    "negative": ("minus", "负"), "→": ("to", "到"), "⇒": ("so", "所以"), "↔": ("and", "和"), "∞": ("infinity", "无穷"),
    "√": ("the square root of", "根号"), "∑": ("the sum of", "求和"), "∫": ("the integral of", "积分"),
    "²": ("squared", "的平方"), "³": ("cubed", "的立方"), "about": ("about", "约"), "range": ("to", "到"),
    "&": ("and", "和"), "@": ("at", "艾特"), "#": ("number", "第"), "over": ("over", "分之"),
    "power": ("to the power of", "的次方"), "degrees": ("degrees", "度"), "∈": ("in", "属于"), "·": ("times", "乘以"),
    "∂": ("partial", "偏"), "∴": ("therefore", "所以"), "∝": ("is proportional to", "正比于"),
    "link": ("a link", "链接"), "port": ("port", "端口"), "sharp": ("sharp", " sharp"), "％": ("percent", "％"),
}  # fmt: skip

COMMANDS: dict[str, str] = {
    "times": "×", "cdot": "×", "div": "÷", "pm": "±", "approx": "≈", "sim": "about", "ne": "≠", "neq": "≠", "le": "≤",
    "leq": "≤", "ge": "≥", "geq": "≥", "lt": "<", "gt": ">", "to": "→", "rightarrow": "→", "Rightarrow": "⇒",
    "implies": "⇒", "infty": "∞", "sqrt": "√", "sum": "∑", "int": "∫", "circ": "degrees", "degree": "degrees",
    "in": "∈", "partial": "∂", "therefore": "∴", "propto": "∝",
}  # fmt: skip
"""LaTeX command -> key of `WORDS`. Others, as Greek letters, are said by their name."""

SILENT_COMMANDS = frozenset((
    "left", "right", "big", "Big", "bigg", "Bigg", "displaystyle", "textstyle", "text", "textbf", "textit",
    "mathrm", "mathbf", "mathit", "mathbb", "mathcal", "boxed", "operatorname", "quad", "qquad", "limits",
    "nolimits", "hline", "begin", "end", "ldots", "cdots", "dots",
))  # fmt: skip
"""LaTeX commands that lay out and say nothing."""

_SITES = "com|org|net|edu|gov|mil|int|info|io|ai|app|dev|cn|hk|tw|jp|kr|uk|us|eu|de|fr|ch|ca|au|in|ru|co|me|tv|cc|xyz"
_FILES = (
    "py|js|ts|jsx|tsx|json|ya?ml|toml|md|txt|csv|html?|css|c|h|cpp|hpp|rs|go|java|kt|rb|php|sh|sql|xml|pdf|docx?|xlsx?"
    "|pptx?|png|jpe?g|gif|svg|mp3|mp4|wav|zip|gz|tar|exe|ini|cfg|log|onnx|gguf"
)
EMAIL = re.compile(
    r"(?:mailto:)?([A-Za-z0-9][A-Za-z0-9._%+-]{0,63})@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)(?![A-Za-z0-9@])"
)
SITE = re.compile(
    rf"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{{0,62}})\.){{1,8}}(?:{_SITES})(?:/[A-Za-z0-9._~%+/-]*)?(?![A-Za-z0-9@])",
)
FILE = re.compile(
    r"(?!(?:[A-Za-z]\.)+[A-Za-z](?![A-Za-z0-9]))"  # m.p.h. is no file
    rf"[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*\.(?:{_FILES})(?![A-Za-z0-9_])"
)
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,15}://")
_PATH_SEGMENT = re.compile(r"[A-Za-z0-9._~-]{1,20}")
_PATH_SEGMENTS_MAX = 2
_NAMES = {".": ("dot", "点"), "-": ("dash", "杠"), "_": ("underscore", "下划线"), "/": ("slash", "斜杠"),
          "@": ("at", "艾特"), "+": ("plus", "加"), "%": ("percent", "百分号"), "~": ("tilde", "波浪号")}  # fmt: skip


def word(key: str, zh: bool) -> str:
    """What is said for a sign of `WORDS`."""
    return WORDS[key][zh]


def spelled(name: str, zh: bool) -> str:
    """A host, file or user name with its signs said: `a-b.com` is "a dash b dot com"."""
    parts = (_sign(character, zh) if character in _NAMES else character for character in name)
    return " ".join("".join(parts).split())


def _sign(character: str, zh: bool) -> str:
    said = _NAMES[character][zh]
    return said if zh else f" {said} "


def site(address: str, zh: bool) -> str:
    """What one says of an address: the site, and a short path; never scheme, query or fragment."""
    rest = address.partition("://")[2] if SCHEME.match(address) else address
    place, _, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    host, _, port = place.rpartition("@")[2].partition(":")
    host = host.removeprefix("www.").strip(".-")
    if not re.search(r"[A-Za-z0-9]", host):
        return word("link", zh)
    said = spelled(host, zh)
    if port.isdigit():
        said += f"，{word('port', zh)}{port}" if zh else f", {word('port', zh)} {port}"
    segments = [segment for segment in path.split("/") if segment]
    if len(segments) <= _PATH_SEGMENTS_MAX and all(map(_PATH_SEGMENT.fullmatch, segments)):
        said += (
            spelled("".join(f"/{segment}" for segment in segments), zh)
            if zh
            else "".join(f" {spelled('/' + segment, zh)}" for segment in segments)
        )
    return re.sub(r"[^\w ,，]", " ", said.replace("_", " ")).strip()

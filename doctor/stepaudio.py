"""What `doctor` says of Step-Audio on this machine. Nothing of torch is imported here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from doctor.findings import Finding
from stepaudio import layout

PACKAGES = ("torch", "whisper", "sentencepiece", "safetensors")
INSTALL = "make stepaudio"
CHECK = "python app.py stepaudio check"
NEEDED = (layout.TOKENIZER, layout.TTS)


def stepaudio(root: Path = layout.ROOT) -> Finding:
    """Packages and files for `python app.py stepaudio serve`; nothing else needs them, so what lacks is a note."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        names = ", ".join(absent)
        return Finding("Step-Audio", "note", f"not installed: {names}", f"未安装：{names}", INSTALL)
    states = [layout.state_of(part, root / part) for part in layout.FILES]
    whole = [state.part for state in states if state.is_whole]
    wrong = [f"{state.part}/{name}" for state in states for name in state.wrong]
    if wrong:
        listed = ", ".join(wrong)
        return Finding(
            "Step-Audio", "note", f"of another size than published: {listed}", f"大小与发布的不符：{listed}", CHECK
        )
    if not set(NEEDED) <= set(whole):
        there = ", ".join(whole) or "none"
        return Finding(
            "Step-Audio", "note", f"parts under {root}: {there}", f"{root} 下现有：{', '.join(whole) or '无'}", CHECK
        )
    own = layout.SOURCE not in whole
    en = "; no built-in voices and our own wording of the instructions (Step-Audio/ is not there)" if own else ""
    zh = "；无内置音色，指令使用自拟措辞（缺少 Step-Audio/）" if own else ""
    return Finding("Step-Audio", "ok", f"speaks{en}", f"可以合成语音{zh}", layout.command(layout.SOURCE) if own else "")

"""What `doctor` looks at for `--model musetalk`: packages, a GPU, weights, and how good a picture they allow.

Nothing of torch is imported here, so that looking stays quick and works where torch is not installed.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from config import Settings
from doctor.findings import Finding, State
from media import FPS
from weights.manager import state_of
from weights.manifest import MODELS, Manifest, Weight, read_manifest

PACKAGES = ("torch", "diffusers", "safetensors", "whisper")
INSTALL = "make musetalk"
TRY_SMALL = "python app.py --model musetalk --musetalk_weights small"
CPU_FPS_PER_CORE = 0.15
"""Whole pictures a second at the published size in fp32: 5.6 s each on one core with AVX-512, measured by
`benchmarks.musetalk_parity`; a little less, for several cores do not share the work without loss."""
NEEDED_MB = 6000
"""Device memory at batch 16 in 16 bits: 1.9 GB of weights, the activations of the VAE's decoder, what is kept of the
UNet for each frame."""
PROBE_TIMEOUT_S = 5.0
GROUPS = {"v15": "musetalk", "v1": "musetalk-v1"}
"""`--musetalk_weights` -> group of the manifest."""
COVERED = frozenset({*GROUPS.values(), "sd-vae", "whisper", "face-parser", "taesd"})
"""Groups of the manifest that the findings here speak of."""
SMALL = Path(__file__).parent.parent / "engines" / "musetalk" / "small" / "unet.safetensors"


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """A GPU as `nvidia-smi` lists it."""

    name: str
    total_mb: int
    free_mb: int


def musetalk(settings: Settings, models: Path = MODELS) -> Iterator[Finding]:
    """All of it; what is missing is `missing` only where it is the chosen engine."""
    lacking: State = "missing" if settings.model == "musetalk" else "note"
    installed = packages(lacking)
    yield installed
    yield device(settings, cards(), _version("torch"))
    manifest = read_manifest()
    yield weights(settings, manifest, models, lacking)
    yield decoders(settings, manifest, models, lacking)


def packages(lacking: State) -> Finding:
    """PyTorch and what draws with it."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        names = ", ".join(absent)
        return Finding("MuseTalk", lacking, f"not installed: {names}", f"未安装：{names}", INSTALL)
    text = f"torch {_version('torch')}, diffusers {_version('diffusers')}"
    return Finding("MuseTalk", "ok", text, text)


def device(settings: Settings, found: list[Card], torch_version: str) -> Finding:
    """The GPU, or what the CPU would do."""
    name = "MuseTalk (GPU)"
    if settings.musetalk_weights not in GROUPS:
        return Finding(
            name, "ok", f"not needed for --musetalk_weights {settings.musetalk_weights}, which are small",
            f"--musetalk_weights {settings.musetalk_weights} 体量小，无需 GPU",
        )  # fmt: skip
    if not found or settings.device == "cpu":
        cores = os.cpu_count() or 1
        speed = f"{CPU_FPS_PER_CORE * cores:.1f}"
        return Finding(
            name, "note",
            f"no GPU: MuseTalk would draw about {speed} pictures a second on {cores} cores, and {FPS} are needed;"
            " use --model lite, or --musetalk_weights small to try the path",
            f"无 GPU：{cores} 核 CPU 上 MuseTalk 每秒约绘制 {speed} 帧，而需要 {FPS} 帧；"
            "请使用 --model lite，或用 --musetalk_weights small 试走流程",
            TRY_SMALL,
        )  # fmt: skip
    card = max(found, key=lambda one: one.total_mb)
    text = f"{card.name}, {card.free_mb / 1000:.0f} of {card.total_mb / 1000:.0f} GB free"
    zh = f"{card.name}，可用显存 {card.free_mb / 1000:.0f}/{card.total_mb / 1000:.0f} GB"
    if torch_version.endswith("+cpu"):
        return Finding(
            name, "note", f"{text}; but torch {torch_version} is built without CUDA and would not use it",
            f"{zh}；但 torch {torch_version} 不带 CUDA，不会使用它", f"rm -f .venv/.installed-musetalk && {INSTALL}",
        )  # fmt: skip
    if card.free_mb < NEEDED_MB:
        need = f"{NEEDED_MB / 1000:.0f} GB"
        return Finding(
            name, "note", f"{text}; at batch 16 it takes about {need}: give a smaller --batch_size",
            f"{zh}；批量 16 约需 {need}：请调小 --batch_size", "python app.py --model musetalk --batch_size 4",
        )  # fmt: skip
    return Finding(name, "ok", text, zh)


def weights(settings: Settings, manifest: Manifest, models: Path, lacking: State) -> Finding:
    """The files of the chosen weights; sizes are compared, bytes are not read."""
    chosen = settings.musetalk_weights
    name = f"MuseTalk (weights {chosen})"
    if chosen not in GROUPS:
        place = SMALL if chosen == "small" else Path(chosen)
        if place.exists():
            return Finding(name, "ok", str(place), str(place))
        fix = "git checkout -- engines/musetalk/small" if chosen == "small" else ""
        return Finding(name, lacking, f"{place} is not there", f"{place} 不存在", fix)
    group = GROUPS[chosen]
    states = {one.path: _state(one, manifest, models) for one in manifest.members(group) if _is_live(one)}
    wrong = {path: state for path, state in states.items() if state != "present"}
    if not wrong:
        return Finding(name, "ok", f"all {len(states)} files", f"{len(states)} 个文件齐全")
    damaged = [path for path, state in wrong.items() if state == "damaged"]
    listed = ", ".join(damaged or wrong)
    en, zh = ("of another size than published", "大小与发布的不符") if damaged else ("not there", "缺少")
    return Finding(
        name, lacking, f"{en}: {listed} (under {models})", f"{zh}：{listed}（在 {models} 下）",
        f"python app.py weights pull {group}",
    )  # fmt: skip


def decoders(settings: Settings, manifest: Manifest, models: Path, lacking: State) -> Finding:
    """Which qualities of picture there are, and what avatars' masks are made from."""
    of_group = {group: _present(group, manifest, models) for group in ("sd-vae", "taesd", "face-parser")}
    tiny = of_group["taesd"] or (models / "musetalk-tiny").is_dir()
    there = [name for name, has in (("sd-vae", of_group["sd-vae"]), ("tiny", tiny)) if has]
    if settings.musetalk_weights not in GROUPS:
        there = ["sd-vae"]
    names = ", ".join(there)
    masks_en = "the face parser" if of_group["face-parser"] else "landmarks (the face parser is not there)"
    masks_zh = "人脸解析模型" if of_group["face-parser"] else "关键点（无人脸解析模型）"
    en = f"there: {names or 'none'}; masks of new avatars from {masks_en}"
    zh = f"现有：{names or '无'}；新形象的遮罩来自{masks_zh}"
    if settings.musetalk_decoder not in there:
        fix = f"python app.py weights pull {'taesd' if settings.musetalk_decoder == 'tiny' else 'sd-vae'}"
        chosen = settings.musetalk_decoder
        return Finding("MuseTalk (decoder)", lacking, f"{chosen} is not there; {en}", f"缺少 {chosen}；{zh}", fix)
    return Finding("MuseTalk (decoder)", "ok", en, zh)


def cards() -> list[Card]:
    """The GPUs of this machine, as NVIDIA's own tool lists them."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=True)
        rows = [line.rsplit(",", 2) for line in done.stdout.splitlines() if line.count(",") >= 2]
        return [Card(name.strip(), int(total), int(free)) for name, total, free in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def _is_live(weight: Weight) -> bool:
    """Whether a file is needed while she speaks; the face parser is for building avatars, and can be done without."""
    return weight.group != "face-parser"


def _present(group: str, manifest: Manifest, models: Path) -> bool:
    return all(_state(one, manifest, models) == "present" for one in manifest.members(group))


def _state(weight: Weight, manifest: Manifest, models: Path) -> str:
    """Of the file or of what stands in for it."""
    other = manifest.substitute(weight)
    if other and state_of(other, models) == "present":
        return "present"
    return state_of(weight, models)


def _version(package: str) -> str:
    """Without importing it; empty where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""

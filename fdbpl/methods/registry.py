"""The registry of methods, one line each, and methods of the user's own."""

import importlib.util
import inspect
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from fdbpl.methods.both_towers import Ivlp
from fdbpl.methods.bridged import Bridged, HiddenBridge
from fdbpl.methods.coop import CoOp
from fdbpl.methods.fdbpl import Fdbpl
from fdbpl.methods.fdbpl_vision import FdbplVision, FdbplVisionOptions
from fdbpl.methods.gda import Gda
from fdbpl.methods.imported import Imported
from fdbpl.methods.kdpl import Kdpl, KdplW
from fdbpl.methods.kgcoop import KgCoOp
from fdbpl.methods.linear_probe import LinearProbe
from fdbpl.methods.maple import Maple
from fdbpl.methods.method import Method
from fdbpl.methods.options import PRESETS
from fdbpl.methods.prolip import ProLip
from fdbpl.methods.promptkd import PromptKd
from fdbpl.methods.prompts import ClosedFormOnly, Inference
from fdbpl.methods.promptsrc import PromptSrc
from fdbpl.methods.tcp import Tcp
from fdbpl.methods.tip_adapter import TipAdapter
from fdbpl.methods.tip_adapter_f import TipAdapterF
from fdbpl.methods.zero_shot import Teacher, ZeroShot
from fdbpl.system.errors import UserError
from fdbpl.system.source import source

IMPORTED = "imported"
_MEMORY = Inference(memory_share=0.5)
"""A memory of the classes learned, silent where others compete; its share chosen on drawings."""
_GDA = Inference(template_share=1.0, memory_share=0.5, gda=True)

_RELEASED = FdbplVisionOptions(weighting="batch")
_TEMPLATE = ZeroShot("zero_shot", "zero-shot", "template")
_TEMPLATE_MEMORY = ClosedFormOnly("template_memory", "template + memory", inference=_MEMORY)

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        one.name: one
        for one in (
            _TEMPLATE,
            ZeroShot("zero_shot_generic", 'zero-shot, "a photo of a"', "generic"),
            ZeroShot("zero_shot_ensemble", "zero-shot, ensemble", "ensemble"),
            Teacher("teacher", "teacher"),
            LinearProbe("linear_probe", "linear probe"),
            LinearProbe("linear_probe_text", "linear probe from text", from_text=True),
            TipAdapter("tip_adapter", "Tip-Adapter"),
            TipAdapterF("tip_adapter_f", "Tip-Adapter-F"),
            ProLip("prolip", "ProLIP"),
            Gda("gda", "GDA, labels"),
            ClosedFormOnly("gda_teacher", "GDA, teacher", inference=_GDA),
            Bridged("template_own_bridge", "template + own bridge", _TEMPLATE, HiddenBridge()),
            Bridged("template_bridge", "template + bridge", _TEMPLATE),
            Bridged("template_memory", "template + memory + bridge", _TEMPLATE_MEMORY),
            CoOp("coop", "CoOp"),
            Bridged("coop_bridge", "CoOp + bridge", CoOp("coop", "CoOp")),
            Bridged("coop_memory", "CoOp + memory + bridge", CoOp("", "", inference=_MEMORY)),
            KgCoOp("kgcoop", "KgCoOp"),
            Bridged("kgcoop_bridge", "KgCoOp + bridge", KgCoOp("kgcoop", "KgCoOp")),
            Bridged("kgcoop_memory", "KgCoOp + memory + bridge", KgCoOp("", "", inference=_MEMORY)),
            Tcp("tcp", "TCP"),
            Bridged("tcp_bridge", "TCP + bridge", Tcp("tcp", "TCP")),
            Bridged("tcp_memory", "TCP + memory + bridge", Tcp("", "", inference=_MEMORY)),
            Kdpl("kdpl", "KDPL"),
            Bridged("kdpl_bridge", "KDPL + bridge", Kdpl("kdpl", "KDPL")),
            Bridged("kdpl_memory", "KDPL + memory + bridge", Kdpl("", "", inference=_MEMORY)),
            KdplW("kdpl_w", "KDPL + w"),
            Fdbpl("released", "FDBPL, released", PRESETS["released"]),
            Fdbpl("paper", "FDBPL, paper", PRESETS["paper"]),
            Fdbpl("fdbpl_prompts", "FDBPL, ours, prompts alone", PRESETS["fdbpl_prompts"]),
            Bridged("fdbpl", "FDBPL, ours", Fdbpl("fdbpl", "FDBPL, ours", PRESETS["fdbpl"])),
            Ivlp("ivlp", "IVLP"),
            Maple("maple", "MaPLe"),
            PromptSrc("promptsrc", "PromptSRC"),
            PromptKd("promptkd", "PromptKD"),
            FdbplVision("fdbpl_vision", "FDBPL, text + vision"),
            FdbplVision("fdbpl_vision_released", "FDBPL, text + vision, released", _RELEASED),
            Imported(IMPORTED, "imported"),
        )
    }
)


def find_method(
    name: str, options: Mapping[str, Any] | None = None, file: str | None = None
) -> Method:
    """Return the method called `name`, perhaps with changed options.

    Args:
        name: of the registry, or of a class in `file`.
        options: to change some.
        file: of the user's own, which is run.

    Raises:
        UserError: no method has this name, or it has no options, or not these; or the file cannot
            be read or has no such method.
    """
    if file is not None:
        return _own(name, file).with_options(options or {})
    if name not in METHODS:
        raise UserError(
            f"method is {name!r}, wanted one of {', '.join(METHODS)}, or a class of your own as "
            "FILE.py:NAME."
        )
    return METHODS[name].with_options(options or {})


def title_of(name: str) -> str:
    """Return what tables call a method; one of the user's own by its name."""
    return METHODS[name].title if name in METHODS else name


def usable(methods: Iterable[Method], *, labels: bool) -> list[Method]:
    """Return the methods that can learn, with labels of the training images or without."""
    return [one for one in methods if labels or not one.labelled]


def _own(name: str, file: str) -> Method:
    """Run a user's file and return its method, named and titled as its class."""
    found = getattr(_load(Path(file)), name, None)
    if not (inspect.isclass(found) and issubclass(found, Method)):
        what = "no such class" if found is None else f"a {type(found).__name__}"
        raise UserError(
            f"{file}: {name!r} is {what}, wanted a class that derives from "
            "fdbpl.methods.method.Method. docs/methods.md shows one."
        )
    return found(name, found.__dict__.get("title", name))


@cache
def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_own_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"{path}: no such Python file. Correct its path under methods.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and `inspect` look for it
    try:
        file = Path(str(spec.origin))
        exec(compile(source(file), file, "exec"), vars(module))  # what training keys are made of
    except Exception as error:  # whatever a user's file raises, it is his to mend
        raise UserError(f"{path}: {type(error).__name__}: {error}. Mend the file.") from error
    return module

"""The kinds of graph that a base may have, and which of them a base is run in."""

from pathlib import Path
from typing import Any

from xpm_runtime.errors import ModelLoadError
from xpm_runtime.forms.cuda import CudaForm
from xpm_runtime.forms.exported import ExportedForm
from xpm_runtime.forms.form import Form
from xpm_runtime.forms.native import NativeForm
from xpm_runtime.forms.portable import PortableForm
from xpm_runtime.graph import GraphSpec
from xpm_runtime.session import PROVIDERS, Session, available_device

FORMS: dict[str, type[Form[Any]]] = {each.name: each for each in (CudaForm, NativeForm, PortableForm, ExportedForm)}
"""By the name that ``kernels=`` takes; the first that a base and a device can do is taken if none is asked for."""
KERNELS = ("auto", *FORMS)
DEVICES = ("auto", "cpu", *PROVIDERS)


def open_base(
    folder: Path, graph: GraphSpec, *, device: str, kernels: str, threads: int | None, spinning: bool
) -> tuple[Form[Any], Session]:
    """Load the graph of a base that suits a device.

    Raises:
        ModelLoadError: device or kernels are unknown, can't be had here or not for this base, or
            the graph can't be loaded.
    """
    for value, known, what in ((device, DEVICES, "device"), (kernels, KERNELS, "kernels")):
        if value not in known:
            raise ModelLoadError(f"{what} {value!r} is unknown", hint=f"choose one of {', '.join(known)}")
    wanted = available_device() if device == "auto" else device
    if device == "auto" and kernels == NativeForm.name:
        wanted = "cpu"
    form = _choose(folder, wanted, kernels)(graph)
    session = form.open(folder, device=wanted, threads=threads, spinning=spinning)
    if session.device == wanted:
        return form, session
    if device != "auto":
        raise ModelLoadError(
            f"{PROVIDERS[device]} could not be started",
            context=f"available: {', '.join(session.available_providers)}",
            hint="install the driver and `pip install 'xpm-experts[cuda]'`, or use --device cpu"
            if device == "cuda"
            else "install a build of ONNX Runtime that has it, or use --device cpu",
        )
    return open_base(folder, graph, device="cpu", kernels=kernels, threads=threads, spinning=spinning)


def _choose(folder: Path, device: str, kernels: str) -> type[Form[Any]]:
    if kernels != "auto":
        if obstacle := FORMS[kernels].obstacle(folder, device):
            raise ModelLoadError(
                f"the {kernels} kernels can't be used", context=obstacle, hint='leave out kernels, or use "portable"'
            )
        return FORMS[kernels]
    meant = (form for form in FORMS.values() if device in form.devices)
    return next((form for form in meant if not form.obstacle(folder, device)), PortableForm)

"""What a machine offers to training: a table of known ones, files of the same form, and this machine, measured."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import yaml
from pydantic import Field

from groundup.base.config import Config
from groundup.base.errors import RequestError, nearest
from groundup.base.machine import WATTS_PER_CORE, available_memory, cores, cpu_name, has_bf16
from groundup.base.units import ByteSize
from groundup.train.settings import Arithmetic, PrecisionName

if TYPE_CHECKING:
    import torch

THIS: Final = "this"
DOLLARS_PER_KWH: Final = 0.25
"""What power costs where the machine is one's own: a household's price, between those of Europe and America."""

_PROBE, _PROBE_SECONDS = 1024, 0.25


class Machine(Config):
    """One node of a kind. Rates are dense, for one device."""

    name: str = Field(description="what to call it")
    device: Literal["cuda", "cpu"] = Field(description="what computes")
    devices: int = Field(gt=0, description="devices in a node")
    flops: dict[Arithmetic, float] = Field(description="peak floating-point operations a second, by arithmetic")
    memory: ByteSize = Field(description="memory of a device")
    bandwidth: float = Field(gt=0, description="bytes a second between a device and its memory")
    link: float = Field(gt=0, description="bytes a second, one direction, from a device to another in its node")
    network: float = Field(gt=0, description="bytes a second, one direction, from a device to another node")
    watts: float = Field(gt=0, description="power of a device under load")
    price: float | None = Field(None, ge=0, description="US dollars for a device and hour; nothing if it is one's own")
    mfu: float = Field(gt=0, le=1, description="share of the peak assumed for a training step")
    source: str = Field(description="where the figures are from")

    def peak(self, arithmetic: Arithmetic) -> float:
        """FLOP/s in an arithmetic; RequestError if the machine has no units for it."""
        if arithmetic not in self.flops:
            raise RequestError(f"machine {self.name!r} has no {arithmetic} units, only {', '.join(self.flops)}")
        return self.flops[arithmetic]

    def arithmetic(self, precision: PrecisionName) -> Arithmetic:
        """What training in ``precision`` computes in here: ``auto`` is bf16 where there are units for it."""
        return precision if precision != "auto" else "bf16" if "bf16" in self.flops else "fp32"


def find_machine(reference: str) -> Machine:
    """A machine by name, ``this`` one, or from a YAML file that holds one machine; RequestError if there is none."""
    if reference == THIS:
        return this_machine()
    table = _table()
    if reference in table:
        return table[reference]
    path = Path(reference)
    if path.suffix in {".yaml", ".yml"}:
        return _from_file(path)
    raise RequestError(f"no machine {reference!r}{nearest(reference, [THIS, *table])}; or name a YAML file of its form")


def known() -> tuple[str, ...]:
    """The names in the table."""
    return tuple(_table())


@cache
def _table() -> dict[str, Machine]:
    return _read(Path(__file__).with_name("machines.yaml"))


def _from_file(path: Path) -> Machine:
    if not path.is_file():
        raise RequestError(f"machine file {str(path)!r} does not exist")
    found = _read(path)
    if len(found) != 1:
        raise RequestError(f"{path}: expected one machine, found {len(found)}")
    return next(iter(found.values()))


def _read(path: Path) -> dict[str, Machine]:
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or not all(isinstance(entry, dict) for entry in data.values()):
        raise RequestError(f"{path}: expected the name of a machine with its fields below")
    return {str(name): Machine.parse({"name": str(name), **entry}, f"{path}: {name}") for name, entry in data.items()}


@cache
def this_machine() -> Machine:
    """What this machine reaches, measured in about a second: its largest matrix products and its memory."""
    import torch

    if torch.cuda.is_available():
        return _this_gpu()
    torch.set_num_threads(cores())
    rates: dict[Arithmetic, float] = {"fp32": _matmul_rate(torch.float32)}
    if has_bf16():
        rates["bf16"] = _matmul_rate(torch.bfloat16)
    return Machine(
        name=THIS,
        device="cpu",
        devices=1,
        flops=rates,
        memory=ByteSize(available_memory()),
        bandwidth=_copy_rate(),
        link=1e9,
        network=0.125e9,
        watts=WATTS_PER_CORE * cores(),
        mfu=0.5,
        source=f"{cpu_name()}, {cores()} cores: matrix products measured now; memory that is free now",
    )


def _this_gpu() -> Machine:
    """The table's entry that fits the card's name, with the memory and number of cards that are really here."""
    import torch

    name = torch.cuda.get_device_name(0)
    memory = ByteSize(torch.cuda.get_device_properties(0).total_memory)
    plain = name.lower().replace(" ", "")
    fitting = [one for key, one in _table().items() if one.devices == 1 and key.replace("-", "") in plain]
    update = {"name": THIS, "devices": torch.cuda.device_count(), "memory": memory, "price": None}
    if fitting:
        return max(fitting, key=lambda one: len(one.name)).model_copy(update=update)
    rates: dict[Arithmetic, float] = {
        "fp32": _matmul_rate(torch.float32, "cuda"),
        "bf16": _matmul_rate(torch.bfloat16, "cuda"),
        "fp16": _matmul_rate(torch.float16, "cuda"),
    }
    return _table()["l4"].model_copy(
        update={**update, "flops": rates, "source": f"{name}: matrix products measured now"}
    )


def _matmul_rate(dtype: torch.dtype, device: str = "cpu") -> float:
    """FLOP/s of a large matrix product: the best of a quarter second of them."""
    import torch

    size = _PROBE if device == "cpu" else 8 * _PROBE
    left = torch.ones(size, size, dtype=dtype, device=device)
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < _PROBE_SECONDS or best == float("inf"):
        before = time.perf_counter()
        left @ left
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - before)
    return 2.0 * size**3 / best


def _copy_rate() -> float:
    """Bytes a second read and written by a copy that no cache holds."""
    import torch

    source = torch.ones(2**24)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(5):
        before = time.perf_counter()
        target.copy_(source)
        best = min(best, time.perf_counter() - before)
    return 2 * source.nbytes / best

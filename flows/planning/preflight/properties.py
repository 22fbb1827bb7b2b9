"""Whether OpenVINO takes the properties that a target gives, asked of the library that is installed."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache, lru_cache

from catalog.libraries import installed
from catalog.runtime import Property
from flows.manifest.errors import nearest
from flows.planning.preflight.finding import Finding

_CORE = ("CACHE_DIR", "CACHE_MODE", "ENABLE_MMAP")
"""Properties of OpenVINO itself, which no device lists."""


def check_properties(finding: Finding) -> None:
    """Raise ManifestError for a property that OpenVINO does not have, that is only read, or that has no such value."""
    for target in finding.manifest.targets.values():
        for name, value in target.runtime.ov_config.items():
            if text := problem(target.runtime.device, name, value):
                raise finding.error(("targets", target.name, "ov_config", name), text)


@lru_cache(maxsize=256)
def problem(device: str, name: str, value: Property) -> str | None:
    """Return why a device's property cannot be set so, or None; without OpenVINO or the device, as far as is known."""
    try:
        from openvino import Core
    except ImportError:
        return None
    core = Core()
    here = device in {each.split(".")[0] for each in core.available_devices}
    listed = core.get_property(device if here else "CPU", "SUPPORTED_PROPERTIES")
    supported = {key: str(how) for key, how in listed.items()}
    if supported.get(name) == "RO":
        return f"is a property of {device} that is only read; leave it out"
    if not here:
        # Its plugin cannot be asked: what OpenVINO names anywhere may be one of its properties.
        return None if name in (named := _named()) else _unknown(device, name, sorted(named))
    try:
        core.set_property(device, {name: value})
    except RuntimeError as error:
        reason = " ".join(str(error).split()).split(".cpp:")[-1].split(" ", 1)[-1]
        if "Unsupported property" not in reason:
            return f"is {value!r}, which OpenVINO refuses: {reason.rstrip('. ')}"
        return _unknown(device, name, [*sorted(key for key, how in supported.items() if how != "RO"), *_CORE])
    return None


def _unknown(device: str, name: str, able: list[str]) -> str:
    close = get_close_matches(name, able, n=3, cutoff=0.5) or ["PERFORMANCE_HINT", "KV_CACHE_PRECISION"]
    return (
        f"is no property of {device} in OpenVINO {installed('openvino')}, which has {len(able)} that can be set, such as "
        f"{', '.join(close)}{nearest(name, able)}"
    )


@cache
def _named() -> frozenset[str]:
    """Names of all properties that OpenVINO's Python package has, of whatever device."""
    from openvino._pyopenvino import properties

    modules = (properties, properties.hint, properties.device, properties.intel_cpu, properties.intel_gpu)
    members = (getattr(module, name) for module in modules for name in dir(module) if name.islower())
    return frozenset(str(member()) for member in members if "() -> str" in (member.__doc__ or ""))

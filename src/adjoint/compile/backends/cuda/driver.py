"""NVIDIA's driver through ctypes: memory, modules and launches on one device.

The library is loaded when the first device is asked for. All work goes to the default stream, so
launches and copies happen one after the other in the order they are asked for.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint64, c_void_p
from functools import cache
from typing import Any

from adjoint.base import errors
from adjoint.compile.backends.cuda.kernels import Launch
from adjoint.compile.backends.cuda.link import ptx
from adjoint.compile.backends.cuda.target import STATIC_SHARED, CudaTarget, generation
from adjoint.ir.node import Array

MAJOR, MINOR = 75, 76  # attributes of a device: its compute capability
MOST_SHARED = 8  # attribute of a function: shared memory it may be given at a launch
LOG, LOG_SIZE = 5, 6  # options of a module: where errors are written
OLDEST = (8, 0)


class CudaDevice:
    """A GPU with memory and a queue of work. Raises ArgumentError where there is none to use."""

    def __init__(self, number: int = 0) -> None:
        library = driver()
        if not 0 <= number < device_count():
            raise errors.argument(
                "cuda", f"there is no device {number}", hint=f"there are {device_count()}"
            )
        handle, context = c_int(), c_void_p()
        _check(library.cuDeviceGet(byref(handle), number), "find the device")
        _check(library.cuDevicePrimaryCtxRetain(byref(context), handle), "open the device")
        self.context = context
        name = ctypes.create_string_buffer(256)
        _check(library.cuDeviceGetName(name, 256, handle), "read the name of the device")
        self.name = name.value.decode()
        version = tuple(_attribute(handle, which) for which in (MAJOR, MINOR))
        if version < OLDEST:
            raise errors.argument(
                "cuda", f"{self.name} has compute capability {version[0]}.{version[1]}",
                hint=f"kernels need {OLDEST[0]}.{OLDEST[1]} or newer",
            )  # fmt: skip
        self.target: CudaTarget = generation(version[0], version[1])
        self._functions: dict[str, c_void_p] = {}

    def __repr__(self) -> str:
        return f"CudaDevice({self.name!r}, {self.target.cpu})"

    def allocate(self, nbytes: int) -> int:
        """The address of new memory on the device."""
        found = c_uint64()
        self._call("cuMemAlloc_v2", byref(found), c_size_t(nbytes), why=f"allocate {nbytes} bytes")
        return found.value

    def free(self, address: int) -> None:
        """Give memory back that ``allocate`` gave."""
        self._call("cuMemFree_v2", c_uint64(address), why="free memory")

    def copy_in(self, address: int, array: Array) -> None:
        """The bytes of a contiguous ``array`` to the device."""
        start = c_void_p(array.__array_interface__["data"][0])
        size = c_size_t(array.nbytes)
        self._call("cuMemcpyHtoD_v2", c_uint64(address), start, size, why="copy to the device")

    def copy_out(self, array: Array, address: int) -> None:
        """Fill a contiguous ``array``, once everything launched before is done."""
        start = c_void_p(array.__array_interface__["data"][0])
        size = c_size_t(array.nbytes)
        self._call("cuMemcpyDtoH_v2", start, c_uint64(address), size, why="copy from the device")

    def launch(self, kernel: Launch, words: Sequence[int]) -> None:
        """Run ``kernel`` after what was launched before; its arguments are all 8 bytes."""
        function = self.function(kernel)
        values = (c_uint64 * max(len(words), 1))(*(w & (2**64 - 1) for w in words))
        start = ctypes.addressof(values)
        arguments = (c_void_p * max(len(words), 1))(*(start + 8 * i for i in range(len(words))))
        self._call(
            "cuLaunchKernel", function, *map(ctypes.c_uint, (*kernel.grid, kernel.threads, 1, 1)),
            ctypes.c_uint(kernel.shared), c_void_p(), arguments, c_void_p(),
            why=f"launch {kernel}",
        )  # fmt: skip

    def function(self, kernel: Launch) -> c_void_p:
        """The machine code of ``kernel``, made by the driver when first asked for."""
        found = self._functions.get(kernel.key)
        if found is None:
            found = self._load(ptx(kernel.write(self.target), self.target), str(kernel))
            if kernel.shared > STATIC_SHARED:
                self._call(
                    "cuFuncSetAttribute", found, c_int(MOST_SHARED), c_int(kernel.shared),
                    why=f"give {kernel} its shared memory",
                )  # fmt: skip
            self._functions[kernel.key] = found
        return found

    def synchronize(self) -> None:
        """Wait until everything launched is done."""
        self._call("cuCtxSynchronize", why="run the kernels")

    def seconds(self, work: Any) -> float:
        """How long the device is busy with what ``work()`` launches."""
        start, end, elapsed = c_void_p(), c_void_p(), c_float()
        for event in (start, end):
            self._call("cuEventCreate", byref(event), ctypes.c_uint(0), why="make an event")
        self._call("cuEventRecord", start, c_void_p(), why="record an event")
        work()
        self._call("cuEventRecord", end, c_void_p(), why="record an event")
        self._call("cuEventSynchronize", end, why="run the kernels")
        self._call("cuEventElapsedTime", byref(elapsed), start, end, why="read a time")
        for event in (start, end):
            self._call("cuEventDestroy_v2", event, why="drop an event")
        return elapsed.value / 1000

    def _load(self, text: str, name: str) -> c_void_p:
        module, function = c_void_p(), c_void_p()
        log = ctypes.create_string_buffer(8192)
        options = (c_int * 2)(LOG, LOG_SIZE)
        values = (c_void_p * 2)(ctypes.addressof(log), len(log))
        _check(driver().cuCtxSetCurrent(self.context), "use the device")
        code = driver().cuModuleLoadDataEx(
            byref(module), c_char_p(text.encode()), c_int(2), options, values
        )
        _check(code, f"load {name}", log.value.decode(errors="replace"))
        self._call("cuModuleGetFunction", byref(function), module, b"kernel", why=f"find {name}")
        return function

    def _call(self, name: str, *arguments: Any, why: str) -> None:
        library = driver()
        _check(library.cuCtxSetCurrent(self.context), "use the device")
        _check(getattr(library, name)(*arguments), why)


@cache
def driver() -> Any:
    """The driver's library, ready for use. Raises ArgumentError where there is none."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        library: Any = ctypes.CDLL(name)
    except OSError as problem:
        raise errors.argument(
            "cuda", f"this machine has no NVIDIA driver: {problem}",
            hint="install the driver of the GPU (525 or newer); nothing else is needed: "
            "no toolkit, no pip package. Without a GPU, use device 'cpu'",
        ) from None  # fmt: skip
    code = library.cuInit(0)
    if code:
        raise errors.argument(
            "cuda", f"the NVIDIA driver does not start: {_reason(library, code)}",
            hint="nvidia-smi shows whether the driver sees a GPU",
        )  # fmt: skip
    return library


def device_count() -> int:
    """How many GPUs the driver sees."""
    found = c_int()
    _check(driver().cuDeviceGetCount(byref(found)), "count devices")
    return found.value


def why_not() -> str:
    """Why no GPU can be used; empty where one can."""
    try:
        return "" if device_count() else "the driver sees no GPU"
    except errors.ArgumentError as problem:
        return problem.brief


def _attribute(handle: c_int, which: int) -> int:
    found = c_int()
    _check(driver().cuDeviceGetAttribute(byref(found), which, handle), "read an attribute")
    return found.value


def _check(code: int, why: str, log: str = "") -> None:
    if not code:
        return
    text = f"cannot {why}: {_reason(driver(), code)}"
    raise errors.argument("cuda", f"{text}\n{log}" if log else text, hint=_hint(code))


def _reason(library: Any, code: int) -> str:
    text = c_char_p()
    library.cuGetErrorString(code, byref(text))
    return text.value.decode() if text.value else f"error {code}"


def _hint(code: int) -> str:
    if code == 2:
        return "use smaller batches, or free what is no longer needed"
    if code in (218, 222):
        return "the driver is older than the PTX: install 525 or newer"
    return "run with CUDA_LAUNCH_BLOCKING=1 to see which kernel fails"

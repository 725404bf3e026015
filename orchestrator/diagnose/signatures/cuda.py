"""GPUs: memory, driver, hardware, and kernels that failed."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="cuda.memory",
        meaning="out of GPU memory",
        patterns=(
            r"\btorch\.(?:cuda\.)?OutOfMemoryError\b",
            r"\b(?:CUDA|HIP|XPU|NPU|MPS backend) out of memory",
            r"CUDA error: out of memory",
            r"\bCUBLAS_STATUS_ALLOC_FAILED\b",
            r"Cuda failure (?:\d+ )?'out of memory'",
        ),
        cause="the batch is too large for this GPU, or another process holds memory on it",
        fix="use a smaller batch, or gradient accumulation; see `nvidia-smi` for other processes",
        check="gpu.busy",
        is_survivable=True,
        asks=("gpus",),
    ),
    Signature(
        id="cuda.memory-reserved",
        meaning="the GPU has less free memory than the server wants to reserve",
        patterns=(
            r"\bFree memory on device .*is less than desired GPU memory utilization",
            r"No available memory for the cache blocks",
            r"KV cache is needed, which is larger than the available KV cache memory",
        ),
        cause="another process holds memory on the GPU, or gpu_memory_utilization is too high or too low "
        "for this model",
        fix="end what `nvidia-smi` shows on it; or lower --gpu-memory-utilization, or --max-model-len",
        check="gpu.busy",
        asks=("gpus",),
    ),
    Signature(
        id="cuda.fabric-manager",
        meaning="the NVSwitch fabric of the GPUs is not ready",
        patterns=(
            r"Error 802: system not yet initialized",
            r"CUDA error: system not yet initialized",
            r"Cuda failure (?:\d+ )?'system not yet initialized'",
        ),
        cause="nvidia-fabricmanager is not running, or its version differs from the driver's",
        fix="install the fabric manager of the driver's version, and start nvidia-fabricmanager",
        check="gpu.fabric",
    ),
    Signature(
        id="cuda.ecc",
        meaning="a GPU had an uncorrectable memory error",
        patterns=(
            r"uncorrectable ECC error",
            r"NVRM: Xid \(PCI:[^()]{1,40}\): (?:48|64|94|95)\b",
        ),
        cause="the GPU found an error in its memory that it could not correct",
        fix="exclude the node; reset the GPU (`nvidia-smi -r`) or reboot; replace a GPU that fails again",
        check="gpu.ecc",
        asks=("xids",),
    ),
    Signature(
        id="cuda.nvlink",
        meaning="an NVLink failed",
        patterns=(
            r"uncorrectable NVLink error",
            r"\bSXid \(PCI:[^()]{1,40}\): \d{1,6}, Fatal",
            r"NVRM: Xid \(PCI:[^()]{1,40}\): (?:74|14[4-9]|150)\b(?!.{0,60}Nonfatal)",
            r"NVRM: Xid \(PCI:[^()]{1,40}\): 45, .{0,200}caused by previous Xid (?:74|14[4-9]|150)\b",
        ),
        cause="a link of a GPU had an error that could not be corrected",
        fix="exclude the node; reset its GPUs or reboot; `nvidia-smi nvlink -e` shows the bad link",
        check="gpu.nvlink",
        asks=("xids",),
    ),
    Signature(
        id="cuda.xid",
        meaning="the driver reports Xid {xid}",
        patterns=(r"NVRM: Xid \(PCI:[^()]{1,40}\): (?P<xid>\d{1,4})",),
        cause="13, 31, 43: usually the program; 45: what was running ended after another error; 79: the "
        "GPU fell off the bus; others: hardware or firmware",
        fix="13, 31, 43: check the script; 79: reboot; 48, 64, 95, 119, 120: reset the GPU",
        check="gpu.xid",
        asks=("xids",),
    ),
    Signature(
        id="cuda.lost",
        meaning="the GPU is lost",
        patterns=(
            r"GPU has fallen off the bus",
            r"Unable to determine the device handle for GPU",
            r"GPU is lost",
            r"NVRM: GPU .*GPU has been removed",
            r"NVRM: .{0,80}RmInitAdapter failed",
            r"\bGPU requires (?:a )?(?:reset|restart)\b",
        ),
        cause="the GPU no longer answers on the PCI bus",
        fix="exclude the node and reboot it; if it happens again, check the GPU's power and seating",
        check="gpu.xid",
        asks=("xids", "gpus"),
    ),
    Signature(
        id="cuda.architecture",
        meaning="torch was not built for this GPU",
        patterns=(
            r"no kernel image is available for execution",
            r"is not compatible with the current PyTorch installation",
        ),
        cause="this build of torch has no code for the GPU's architecture",
        fix="install a torch build for a CUDA version that supports the GPU",
        check="sw.versions",
    ),
    Signature(
        id="cuda.assert",
        meaning="an assertion in a GPU kernel failed",
        patterns=(r"device-side assert triggered", r"Assertion `[^`\n]{1,300}` failed\.$"),
        cause="usually an index out of range: a label or token id beyond the number of classes",
        fix="run once on the CPU, or with CUDA_LAUNCH_BLOCKING=1, to see the line",
    ),
    Signature(
        id="cuda.illegal-access",
        meaning="a GPU kernel accessed invalid memory",
        patterns=(
            r"an illegal memory access was encountered",
            r"CUDA error: unspecified launch failure",
            r"CUDA error: misaligned address",
            r"CUDA error: an illegal instruction was encountered",
        ),
        cause="a bug in a custom kernel or library, tensors on the wrong device, or a faulty GPU",
        fix="run with CUDA_LAUNCH_BLOCKING=1, or compute-sanitizer; on one node only: see `dmesg` for Xids",
        check="gpu.xid",
        asks=("xids",),
    ),
    Signature(
        id="cuda.busy",
        meaning="the GPU is in use",
        patterns=(
            r"all CUDA-capable devices are busy or unavailable",
            r"CUDA-capable device\(s\) is/are busy or unavailable",
            r"exclusive.*thread not in use",
        ),
        cause="another process uses it in exclusive mode, or it is in a bad state",
        fix="stop the processes that `nvidia-smi` shows on it, or allow several: nvidia-smi -c DEFAULT",
        check="gpu.busy",
        asks=("gpus",),
    ),
    Signature(
        id="cuda.no-device",
        meaning="there is no such GPU",
        patterns=(
            r"CUDA error: invalid device ordinal",
            r"no CUDA-capable device is detected",
            r"No CUDA GPUs are available",
            r"RuntimeError: Found no NVIDIA driver on your system",
        ),
        cause="this node has fewer GPUs than ranks, CUDA_VISIBLE_DEVICES hides them, or there is no driver",
        fix="start one rank per GPU of `nvidia-smi -L` (--nproc-per-node; orch: `devices` of the node)",
        check="gpu",
    ),
    Signature(
        id="cuda.unknown",
        meaning="CUDA cannot be initialized",
        patterns=(
            r"CUDA unknown error - this may be due to an incorrectly set up environment",
            r"\bCUDA error: unknown error",
        ),
        cause="the module nvidia-uvm is not loaded or stuck (as after suspend), the container lacks a "
        "device, or the GPU is in a bad state",
        fix="run nvidia-smi there; sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm; else reboot",
        check="gpu",
        asks=("xids", "gpus"),
    ),
    Signature(
        id="cuda.driver-old",
        meaning="the driver is too old for torch",
        patterns=(
            r"NVIDIA driver on your system is too old",
            r"CUDA driver version is insufficient for CUDA runtime version",
            r"PTX was compiled with an unsupported toolchain",
            r"API call is not supported in the installed CUDA driver",
            r"the provided PTX was compiled with an unsupported toolchain",
            r"nvidia-container-cli: requirement error: unsatisfied condition: cuda",
        ),
        cause="this build of torch needs a newer driver",
        fix="update the driver on this node, or install a torch build for an older CUDA",
        check="sw.versions",
    ),
    Signature(
        id="cuda.driver-mismatch",
        meaning="the driver and its library have different versions",
        patterns=(
            r"Driver/library version mismatch",
            r"system has unsupported display driver / cuda driver combination",
            r"forward compatibility was attempted on non supported HW",
        ),
        cause="the driver was updated and the old one is still loaded, or a container has a libcuda that "
        "does not match",
        fix="reboot the node or reload the nvidia kernel modules; in a container, remove CUDA's compat "
        "folder from LD_LIBRARY_PATH",
        check="gpu",
    ),
    Signature(
        id="cuda.forked",
        meaning="CUDA was used before a process was forked",
        patterns=(
            r"Cannot re-initialize CUDA in forked subprocess",
            r"can't create new processes if CUDA is already initialized",
        ),
        cause="the script uses a GPU, then forks processes, such as data loader workers",
        fix="do not use CUDA before processes start, nor in a data set; or use the start method 'spawn'",
    ),
    Signature(
        id="cuda.not-compiled",
        meaning="torch has no CUDA support",
        patterns=(
            r"Torch not compiled with CUDA enabled",
            r"module 'torch\._C' has no attribute '_cuda_",
        ),
        cause="the CPU build of torch is installed on this node",
        fix="install the CUDA build of the same version; on a node without GPUs, do not use CUDA",
        check="sw.torch",
    ),
    Signature(
        id="cuda.library",
        meaning="a CUDA library failed to start",
        patterns=(
            r"\bCUBLAS_STATUS_NOT_INITIALIZED\b",
            r"\bCUDNN_STATUS_(?:NOT_INITIALIZED|INTERNAL_ERROR|EXECUTION_FAILED)\b",
            r"\bCUBLAS_STATUS_(?:INTERNAL_ERROR|EXECUTION_FAILED)\b",
        ),
        cause="usually GPU memory ran out, or an earlier kernel failed",
        fix="use a smaller batch; run with CUDA_LAUNCH_BLOCKING=1 to see what failed first",
        kind=Kind.SYMPTOM,
    ),
)

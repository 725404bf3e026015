"""Compiled code: extensions that are built when they are needed, and libraries that do not fit together."""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

SIGNATURES = (
    Signature(
        id="extension.header",
        meaning="an extension cannot be compiled: {header} is missing",
        patterns=(
            r"\bfatal error: '(?P<header>[\w./+-]{1,100})' file not found",
            r"\bfatal error: (?P<header>[\w./+-]{1,100}\.(?:h|hpp|cuh)): No such file or directory",
        ),
        cause="the headers of the CUDA toolkit, of Python or of a library are not installed on this node",
        fix="install them: the CUDA toolkit of torch's version (set CUDA_HOME), python3-dev, libaio-dev",
        check="sw.versions",
    ),
    Signature(
        id="extension.cuda-version",
        meaning="the CUDA toolkit does not match torch",
        patterns=(
            (
                r"The detected CUDA version \((?P<found>[\d.]{1,10})\) mismatches the version that was "
                r"used to compile"
            ),
            (
                r"Installed CUDA version (?P<found>[\d.]{1,10}) does not match the version torch was "
                r"compiled with(?!.*accepting this combination)"
            ),
            r"CUDAMismatchException: .{0,20}Installed CUDA version (?P<found>[\d.]{1,10})",
        ),
        cause="nvcc is of CUDA {found}, torch was built with another version",
        fix="set CUDA_HOME to a toolkit of the version in torch.version.cuda, or install a torch build for "
        "this toolkit",
        check="sw.versions",
    ),
    Signature(
        id="extension.no-toolkit",
        meaning="an extension cannot be compiled: no CUDA toolkit",
        patterns=(
            r"CUDA_HOME environment variable is not set",
            r"CUDA_HOME does not exist, unable to compile CUDA op",
            r"No such file or directory: '\S{0,300}/bin/nvcc'",
            r"\bnvcc(?:: command)? not found",
        ),
        cause="the node has a CUDA runtime, but no nvcc",
        fix="install the CUDA toolkit of torch.version.cuda on all nodes and set CUDA_HOME; or build the "
        "extension ahead (DS_BUILD_OPS=1 pip install deepspeed)",
        check="sw.versions",
    ),
    Signature(
        id="extension.no-ninja",
        meaning="an extension cannot be compiled: no ninja or compiler",
        patterns=(
            r"Ninja is required to load C\+\+ extensions",
            r"FileNotFoundError: \[Errno 2\] .*'(?:c\+\+|g\+\+|gcc|cc|ninja|which)'",
            r"RuntimeError: Failed to find C compiler",
            r"InvalidCxxCompiler: No working C\+\+ compiler found",
        ),
        cause="a build tool is not installed on this node, or not on the PATH of the job",
        fix="install gcc, g++ and ninja on all nodes, or set CC and CXX to a compiler",
        orch_fix="orch exec -- 'sudo apt-get install -y build-essential ninja-build'",
    ),
    Signature(
        id="extension.unsupported-compiler",
        meaning="the compiler is too new or too old for this CUDA toolkit",
        patterns=(
            r"unsupported GNU version! gcc versions later than (?P<version>\d{1,3}) are not supported",
        ),
        cause="nvcc of this toolkit supports gcc up to {version}",
        fix="set CC=gcc-{version} CXX=g++-{version}, or use a newer toolkit",
    ),
    Signature(
        id="extension.architecture",
        meaning="the compiler does not know this GPU",
        patterns=(
            r"nvcc fatal +: Unsupported gpu architecture '(?P<architecture>[\w.]{1,20})'",
            r"Unknown CUDA arch \((?P<architecture>[\w.+]{1,20})\) or GPU not supported",
            r"ptxas fatal +: Value '(?P<architecture>[\w.]{1,20})' is not defined for option 'gpu-name'",
        ),
        cause="the toolkit or torch is older than {architecture}",
        fix="install a newer CUDA toolkit and torch, or set TORCH_CUDA_ARCH_LIST to what both know",
        check="sw.versions",
    ),
    Signature(
        id="extension.op",
        meaning="an extension of DeepSpeed cannot be built here: {name}",
        patterns=(
            r"Unable to (?:JIT load|pre-compile) the (?P<name>\w{1,60}) op due to it not being compatible",
        ),
        cause="the CUDA toolkit (nvcc) is missing or does not match torch, or a library that it needs, "
        "such as libaio, is missing",
        fix="`ds_report` says which; set CUDA_HOME to a toolkit of torch.version.cuda",
        check="sw.versions",
    ),
    Signature(
        id="extension.build",
        meaning="an extension could not be built: {name}",
        patterns=(
            r"Error building extension '(?P<name>\w{1,100})'",
            r"module '(?P<name>(?:cpu_|fused_)\w{1,40})' has no attribute 'create_\w{1,40}'",
        ),
        cause="the compiler's own message is above (the first line with `error:`), or an earlier build was "
        "interrupted",
        fix="look at that line; remove the half-built folder below ~/.cache/torch_extensions before the "
        "next try",
        kind=Kind.SYMPTOM,
    ),
    Signature(
        id="library.bitsandbytes",
        meaning="bitsandbytes has no library for the CUDA of this node",
        patterns=(
            r"Could not find the bitsandbytes CUDA binary at",
            r"/libbitsandbytes_(?:cpu|cuda\d{1,4}\w{0,16})\.so: (?:undefined symbol|cannot open shared)",
            r"CUDA Setup failed despite (?:CUDA|GPU) being available",
            r"CUDA SETUP: (?:CUDA detection failed|Required library version not found|Setup Failed)",
        ),
        cause="the installed bitsandbytes is not built for the CUDA version of torch, or does not find "
        "libcudart, and loads its library without CUDA",
        fix="pip install -U bitsandbytes; if that is not enough, install a torch build for a CUDA version "
        "that it has; `python -m bitsandbytes` shows what it looks for",
        check="sw.versions",
    ),
    Signature(
        id="library.shadowed",
        meaning="torch loads another copy of a CUDA library than its own",
        patterns=(
            (
                r"/torch/lib/\S{1,200}: undefined symbol: (?P<symbol>(?:nccl|cudnn|cublas|cusparse|"
                r"nvrtc|cufft|cusolver|__nv)\w{1,100})"
            ),
            r"undefined symbol: (?P<symbol>__nvJitLink\w{1,100})",
            r"undefined symbol: (?P<symbol>(?:nccl|cudnn)[A-Z]\w{1,100})",
            r"symbol lookup error: \S{1,300}/libcu\S{1,100}: undefined symbol: (?P<symbol>\w{1,100})",
        ),
        cause="an older library without {symbol} is found first: through LD_LIBRARY_PATH, or a second "
        "package (nvidia-nccl-cu11 beside nvidia-nccl-cu12)",
        fix="unset LD_LIBRARY_PATH, or remove that folder from it; pip list | grep nvidia- shows what is "
        "installed twice; then reinstall torch",
        check="sw.versions",
    ),
    Signature(
        id="library.cudnn",
        meaning="cuDNN of another version is loaded",
        patterns=(
            (
                r"cuDNN version incompatibility: PyTorch was compiled +against \(?(?P<built>[\d, ]{1,"
                r"20})\)? but found"
            ),
            r"Loaded runtime CuDNN library: (?P<built>[\d.]{1,20}) but source was compiled with",
        ),
        cause="an installation of the system, or a module, precedes the one of torch in LD_LIBRARY_PATH",
        fix="unset LD_LIBRARY_PATH (or unload the cudnn module), or install the cuDNN that torch was built "
        "with",
        check="sw.versions",
    ),
    Signature(
        id="library.cublas",
        meaning="cuBLAS refuses a call",
        patterns=(r"\bCUBLAS_STATUS_(?:INVALID_VALUE|NOT_SUPPORTED|ARCH_MISMATCH)\b",),
        cause="most likely another cuBLAS than that of torch is loaded; else the sizes of the matrices do "
        "not fit, or the GPU lacks this type",
        fix="unset LD_LIBRARY_PATH and try again; if that is not it, print the shapes before that call",
        kind=Kind.SYMPTOM,
        check="sw.versions",
    ),
    Signature(
        id="library.nvml",
        meaning="the NVIDIA management library fails",
        patterns=(
            r"Can't initialize NVML",
            r"Failed to open libnvidia-ml\.so",
            r"NVMLError_\w+: (?!Not Supported)",
            r"Failed to initialize NVML: (?!Driver/library)",
        ),
        cause="the driver's library is missing in this container, or the container lost its devices after "
        "a systemd reload (cgroup v2)",
        fix="start the container again with --gpus all; on the host, run nvidia-smi",
        kind=Kind.SYMPTOM,
        check="gpu",
    ),
    Signature(
        id="python.numpy-abi",
        meaning="a compiled package was built for another numpy",
        patterns=(
            r"numpy\.(?:dtype|ndarray|ufunc) size changed, may indicate binary incompatibility",
            r"A module that was compiled using NumPy 1\.x cannot be run in NumPy 2",
            r"module compiled against (?:ABI|API) version 0x\w+ but this version of numpy is",
        ),
        cause="numpy was upgraded or downgraded after the package was installed",
        fix='reinstall that package, or install the numpy that it was built for, such as "numpy<2"',
        check="sw.versions",
        is_survivable=True,
    ),
)

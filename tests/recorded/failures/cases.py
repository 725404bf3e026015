"""How each failure is made: shell scripts by the name of the text that they print.

`run N [OPTION]... <<'PY'` starts the program under torchrun with N ranks; `_job.py` is its prelude.
"""

# ruff: noqa: E501
from __future__ import annotations

CASES: dict[str, str] = {
    # -- meeting: the store and the rendezvous
    "store-refused": """
python - <<'PY'
from _job import *
dist.TCPStore("127.0.0.1", 29500, 2, False, timeout=datetime.timedelta(seconds=3))
PY""",
    "store-unknown-name": """
MASTER_ADDR=gpu-17.cluster MASTER_PORT=29500 RANK=1 WORLD_SIZE=2 python - <<'PY'
from _job import *
start(3)
PY""",
    "store-port-in-use": """
python - <<'PY'
from _job import *
first = dist.TCPStore("127.0.0.1", 29500, 1, True)
dist.TCPStore("127.0.0.1", 29500, 1, True, timeout=datetime.timedelta(seconds=3))
PY""",
    "torchrun-port-in-use": """
python -c 'import socket, time; s = socket.socket(socket.AF_INET6); s.bind(("::", 29500)); s.listen(); time.sleep(80)' &
sleep 1
timeout -s KILL 60 torchrun --nnodes 2 --node-rank 0 --master-addr 127.0.0.1 --master-port 29500 --nproc-per-node 1 -m this
kill %1""",
    "store-clients-missing": """
MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 RANK=0 WORLD_SIZE=2 python - <<'PY'
from _job import *
dist.TCPStore("127.0.0.1", 29500, 4, True, timeout=datetime.timedelta(seconds=2))
PY""",
    "init-rank-missing": """
MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 RANK=0 WORLD_SIZE=2 python - <<'PY'
from _job import *
start(3)
PY""",
    "init-barrier": """
export MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 WORLD_SIZE=3 TORCH_DIST_INIT_BARRIER=1
cat > train.py <<'PY'
from _job import *
store = dist.TCPStore("127.0.0.1", 29500, 1, True)
from torch.distributed.distributed_c10d import _store_based_barrier
_store_based_barrier(0, store, "", 3, datetime.timedelta(seconds=12), logging_interval=datetime.timedelta(seconds=5))
PY
python train.py""",
    "store-key-missing": """
python - <<'PY'
from _job import *
store = dist.TCPStore("127.0.0.1", 29500, 1, True, timeout=datetime.timedelta(seconds=2))
store.wait(["gpu/3/ready"], datetime.timedelta(seconds=2))
PY""",
    "store-server-died": """
python - <<'PY' &
from _job import *
store = dist.TCPStore("127.0.0.1", 29500, 1, True, wait_for_workers=False)
time.sleep(6)
os.kill(os.getpid(), signal.SIGKILL)
PY
python - <<'PY'
from _job import *
store = dist.TCPStore("127.0.0.1", 29500, 1, False, timeout=datetime.timedelta(seconds=40))
store.get("answer")
PY""",
    "rendezvous-timeout": """
torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint 127.0.0.1:29400 --rdzv-id 7 --rdzv-conf join_timeout=4,is_host=1 -m this""",
    "rendezvous-unreachable": """
torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint 198.18.0.9:29400 --rdzv-id 7 --rdzv-conf join_timeout=4,is_host=0 -m this""",
    "environment-missing": """
python - <<'PY'
from _job import *
dist.init_process_group("gloo")
PY""",
    "not-initialized": """
python - <<'PY'
from _job import *
dist.all_reduce(torch.ones(1))
PY""",
    "old-launch-module": """
cat > train.py <<'PY'
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--epochs")
parser.parse_args()
PY
python -m torch.distributed.launch --nproc-per-node 2 train.py --local-rank 0""",
    # -- torchrun
    "script-missing": "torchrun --nproc-per-node 2 trian.py",
    "raises": """
run 2 <<'PY'
from _job import *
def step(rank):
    if rank == 1:
        raise ValueError("the batch of 7 does not divide by 2")
    time.sleep(30)
step(start())
PY""",
    "raises-recorded": """
TORCHELASTIC_ERROR_FILE=$PWD/error.json run 2 <<'PY'
from _job import *
from torch.distributed.elastic.multiprocessing.errors import record
@record
def main():
    if start() == 1:
        raise KeyError("labels")
    time.sleep(30)
main()
PY
for file in $(find . -name error.json); do test -s $file && cat $file && echo; done""",
    "exit-3": """
run 2 <<'PY'
from _job import *
if start() == 1: sys.exit(3)
time.sleep(30)
PY""",
    **{
        f"signal-{name.lower()}": f"""
run 2 <<'PY'
from _job import *
if start() == 1: os.kill(os.getpid(), signal.SIG{name})
time.sleep(30)
PY"""
        for name in ("KILL", "SEGV", "BUS", "ABRT", "ILL", "FPE")
    },
    "torchrun-terminated": """
cat > train.py <<'PY'
from _job import *
start()
time.sleep(60)
PY
torchrun --nproc-per-node 2 train.py & pid=$!
sleep 12; kill -TERM $pid; wait $pid""",
    "tee": """
run 2 --tee 3 <<'PY'
from _job import *
rank = start()
print("hello from", rank)
if rank == 1: raise ValueError("bad tokenizer")
dist.all_reduce(torch.ones(1))
PY""",
    # -- gloo
    "gloo-peer-died": """
run 3 <<'PY'
from _job import *
rank = start()
for step in range(1000):
    if rank == 2 and step == 5: raise RuntimeError("shape '[2, 3]' is invalid for input of size 7")
    dist.all_reduce(torch.ones(1000))
PY""",
    "gloo-timeout": """
run 2 <<'PY'
from _job import *
rank = start(3)
if rank == 1: time.sleep(20)
dist.all_reduce(torch.ones(1))
PY""",
    "gloo-send-timeout": """
run 2 <<'PY'
from _job import *
rank = start(3)
if rank == 1: time.sleep(20)
dist.broadcast(torch.ones(50_000_000), 0)
PY""",
    "gloo-monitored-barrier": """
run 2 <<'PY'
from _job import *
rank = start(30)
if rank == 1: time.sleep(15)
dist.monitored_barrier(timeout=datetime.timedelta(seconds=3))
PY""",
    "gloo-monitored-barrier-died": """
run 3 <<'PY'
from _job import *
rank = start(20)
if rank == 0:
    time.sleep(2)
    os.kill(os.getpid(), signal.SIGKILL)
dist.monitored_barrier(timeout=datetime.timedelta(seconds=5))
PY""",
    "gloo-no-interface": """
GLOO_SOCKET_IFNAME=eth7 run 1 <<'PY'
from _job import *
start()
PY""",
    "gloo-own-name-unknown": """
hostname gpu-4
MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 RANK=0 WORLD_SIZE=1 python - <<'PY'
from _job import *
start()
PY""",
    "gloo-loopback": """
ip netns list >/dev/null
mkdir -p n && mount -t tmpfs tmpfs /run && mkdir -p /run/netns
ip netns add b && ip link add v0 type veth peer name v1 netns b
ip addr add 198.18.0.1/24 dev v0 && ip link set v0 up
ip -n b addr add 198.18.0.2/24 dev v1 && ip -n b link set v1 up && ip -n b link set lo up
printf '127.0.0.1 localhost\\n127.0.1.1 node0 node1\\n' > /etc/hosts
cat > train.py <<'PY'
from _job import *
start(8)
PY
export MASTER_ADDR=198.18.0.1 MASTER_PORT=29500 WORLD_SIZE=2
RANK=0 python train.py &
RANK=1 ip netns exec b unshare --uts bash -c 'hostname node1; exec python train.py' &
wait""",
    "gloo-rank-ended-early": """
run 3 <<'PY'
from _job import *
rank = start()
for step in range(1000):
    if rank == 2 and step == 5: break
    dist.all_reduce(torch.ones(1000))
PY""",
    "collectives-differ": """
TORCH_DISTRIBUTED_DEBUG=DETAIL run 2 <<'PY'
from _job import *
rank = start()
if rank == 0: dist.all_reduce(torch.ones(4))
else: dist.broadcast(torch.ones(4), 0)
PY""",
    "collective-shapes-differ": """
TORCH_DISTRIBUTED_DEBUG=DETAIL run 2 <<'PY'
from _job import *
rank = start()
dist.all_reduce(torch.ones(4 + rank))
PY""",
    "gloo-sizes-differ": """
run 2 <<'PY'
from _job import *
rank = start()
dist.all_reduce(torch.ones(4 + 60 * rank))
PY""",
    # -- distributed training
    "ddp-unused-parameters": """
run 2 <<'PY'
from _job import *
start()
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    def forward(self, x): return self.used(x)
net = torch.nn.parallel.DistributedDataParallel(Net())
for step in range(2):
    net(torch.ones(1, 2)).sum().backward()
PY""",
    "ddp-ready-twice": """
run 2 <<'PY'
from _job import *
from torch.utils.checkpoint import checkpoint
start()
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
    def forward(self, x):
        for _ in range(2): x = checkpoint(self.layer, x, use_reentrant=True)
        return x
net = torch.nn.parallel.DistributedDataParallel(Net(), find_unused_parameters=True)
net(torch.ones(1, 2, requires_grad=True)).sum().backward()
PY""",
    "ddp-models-differ": """
run 2 <<'PY'
from _job import *
rank = start()
layers = [torch.nn.Linear(2, 2) for _ in range(1 + rank)]
torch.nn.parallel.DistributedDataParallel(torch.nn.Sequential(*layers))
PY""",
    "spawn-without-guard": """
cat > train.py <<'PY'
import torch.multiprocessing as mp
def work(rank): pass
mp.spawn(work, nprocs=2)
PY
python train.py""",
    "traceback-switched-off": """
python3 - <<'PY'
import sys
class PlanError(Exception): pass
sys.tracebacklimit = 0
print("step 1 loss 2.31", flush=True)
raise PlanError("no stage of the plan fits rank 0")
PY""",
    "spawn-raises": """
cat > train.py <<'PY'
import torch.multiprocessing as mp
def work(rank):
    if rank == 1: raise ValueError("no data for rank 1")
if __name__ == "__main__": mp.spawn(work, nprocs=2)
PY
python train.py""",
    "spawn-killed": """
cat > train.py <<'PY'
import os, signal, time
import torch.multiprocessing as mp
def work(rank):
    if rank == 1: os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(30)
if __name__ == "__main__": mp.spawn(work, nprocs=2)
PY
python train.py""",
    "loss-nan": """
python - <<'PY'
from _job import *
weight = torch.nn.Parameter(torch.ones(8))
optimizer = torch.optim.SGD([weight], lr=30.0)
for step in range(40):
    optimizer.zero_grad()
    loss = ((weight * 3) ** 2).mean() - weight.exp().mean()
    loss.backward()
    optimizer.step()
    print(f"step {step}: loss={loss.item():.4f} accuracy=0.10")
PY""",
    "state-dict": """
python - <<'PY'
from _job import *
torch.save(torch.nn.Linear(4, 2).state_dict(), "last.pt")
torch.nn.Linear(8, 2).load_state_dict(torch.load("last.pt"))
PY""",
    "checkpoint-torn": """
python - <<'PY'
from _job import *
torch.save(torch.ones(100000), "last.pt")
os.truncate("last.pt", 200000)
torch.load("last.pt")
PY""",
    "checkpoint-weights-only": """
python - <<'PY'
from _job import *
class Config: pass
torch.save({"config": Config()}, "last.pt")
torch.load("last.pt")
PY""",
    "checkpoint-of-a-gpu": """
python - <<'PY'
from _job import *
import torch.serialization as s
tensor = torch.ones(4)
real = s.location_tag
s.location_tag = lambda storage: "cuda:0"
torch.save(tensor, "last.pt")
s.location_tag = real
torch.load("last.pt")
PY""",
    # -- Python
    "module-missing": """
run 2 <<'PY'
import tokenizers_of_ours
PY""",
    "name-missing": """
python - <<'PY'
from torch.distributed import ProcessGroupNCCLX
PY""",
    "library-missing": """
printf 'int x;' > a.c && gcc -shared -fPIC -o liba.so a.c && gcc -shared -fPIC -o _kernels.so a.c -L. -Wl,--no-as-needed -la && rm liba.so
python -c 'import _kernels'""",
    "interpreter-missing": "nohup /opt/venvs/train/bin/python train.py",
    "command-missing": "deepspeed-launch train.py",
    "syntax-too-new": """
cat > train.py <<'PY'
def f[T: (int) = 3](x: T): return x
match x
PY
python train.py""",
    "interrupted": """
( sleep 4; kill -INT $(cat pid) ) &
python - <<'PY'
from _job import *
open("pid", "w").write(str(os.getpid()))
signal.signal(signal.SIGINT, signal.default_int_handler)
time.sleep(30)
PY""",
    "init-rank-not-given": """
run 1 <<'PY'
from _job import *
dist.init_process_group("gloo", init_method="tcp://127.0.0.1:23456")
PY""",
    "rank-required": """
run 2 <<'PY'
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--local-rank", "--local_rank", type=int, required=True)
parser.parse_args()
PY""",
    "arguments-unknown": """
run 2 --max-restarts 0 <<'PY'
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
parser.parse_args(["--epoch", "3", "--lr", "1"])
PY""",
    # -- memory and limits
    "allocator": """
python - <<'PY'
from _job import *
torch.empty(1 << 46)
PY""",
    "memory-error": """
ulimit -v 8000000
python - <<'PY'
x = bytearray(1 << 44)
PY""",
    "shm-bus-error": """
mount -t tmpfs -o size=1m tmpfs /dev/shm
python - <<'PY'
from _job import *
from torch.utils.data import DataLoader, Dataset
class Images(Dataset):
    def __len__(self): return 64
    def __getitem__(self, index): return torch.ones(3, 512, 512)
for batch in DataLoader(Images(), 8, num_workers=2): pass
PY""",
    "worker-killed": """
python - <<'PY'
from _job import *
from torch.utils.data import DataLoader, Dataset
class Images(Dataset):
    def __len__(self): return 64
    def __getitem__(self, index):
        if index == 20: os.kill(os.getpid(), signal.SIGKILL)
        return torch.ones(3)
for batch in DataLoader(Images(), 8, num_workers=2): pass
PY""",
    "worker-exited": """
python - <<'PY'
from _job import *
from torch.utils.data import DataLoader, Dataset
class Images(Dataset):
    def __len__(self): return 64
    def __getitem__(self, index):
        if index == 20: os._exit(1)
        return torch.ones(3)
for batch in DataLoader(Images(), 8, num_workers=2, timeout=20): pass
PY""",
    "worker-raised": """
python - <<'PY'
from _job import *
from torch.utils.data import DataLoader, Dataset
class Images(Dataset):
    def __len__(self): return 64
    def __getitem__(self, index):
        if index == 20: open("images/20.png")
        return torch.ones(3)
for batch in DataLoader(Images(), 8, num_workers=2): pass
PY""",
    "worker-timeout": """
python - <<'PY'
from _job import *
from torch.utils.data import DataLoader, Dataset
class Images(Dataset):
    def __len__(self): return 64
    def __getitem__(self, index):
        if index == 20: time.sleep(30)
        return torch.ones(3)
for batch in DataLoader(Images(), 8, num_workers=2, timeout=3): pass
PY""",
    "shell-killed": """
cat > start.sh <<'SH'
python -c 'import os, signal; os.kill(os.getpid(), signal.SIGKILL)'
echo done
SH
bash start.sh""",
    "shell-segv": """
cat > start.sh <<'SH'
python -X faulthandler -c 'import ctypes; ctypes.string_at(0)'
echo done
SH
bash start.sh""",
    "open-files": """
ulimit -n 40
python - <<'PY'
from _job import *
files = [open("/dev/null") for _ in range(100)]
PY""",
    "loader-descriptors": """
cat > train.py <<'PY'
from _job import *
torch.multiprocessing.set_sharing_strategy("file_descriptor")
data = [torch.ones(2) for _ in range(400)]
kept = []
for batch in torch.utils.data.DataLoader(data, num_workers=1, batch_size=2): kept.append(batch)
PY
ulimit -n 60
python train.py""",
    "threads": """
python - <<'PY'
import threading, time, resource
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
for _ in range(2000): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
PY""",
    # -- storage
    "disk-full": """
mkdir data && mount -t tmpfs -o size=100k tmpfs data
python - <<'PY'
from _job import *
torch.save(torch.ones(1_000_000), "data/last.pt")
PY
python -c 'open("data/log", "wb", 0).write(b"x" * 200000); open("data/more", "wb", 0).write(b"x")'""",
    "read-only": """
mkdir data && mount -t tmpfs -o ro tmpfs data
python -c 'open("data/last.pt", "wb")'""",
    "permission": """
mkdir data && chmod 700 data && touch data/train.csv
setpriv --reuid 65534 --clear-groups python -c 'open("/proc/1/environ", "rb")'""",
    "checkpoint-distributed": """
run 2 <<'PY'
from _job import *
import torch.distributed.checkpoint as checkpoint
rank = start()
checkpoint.save({"weight": torch.ones(4)}, checkpoint_id="/proc/checkpoints/step-100")
PY""",
    "file-missing": """
run 2 <<'PY'
from _job import *
rank = start()
if rank == 1: open("/data/imagenet/train.csv")
dist.barrier()
PY""",
    "download": """
python -c 'import urllib.request; urllib.request.urlopen("https://198.18.0.1/cifar-10-python.tar.gz", timeout=3)'""",
    "download-name": """
python -c 'import urllib.request; urllib.request.urlopen("https://data.example/cifar-10-python.tar.gz", timeout=3)'""",
    "file-limit": """
ulimit -f 100; python -c 'open("model.bin", "wb").write(bytes(1 << 20))'""",
    # -- CUDA on a machine without
    "cuda-not-compiled": """
python -c 'import torch; torch.ones(1).cuda()'""",
    "cuda-set-device": """
python -c 'import torch; torch.cuda.set_device(0)'""",
    "cuda-backend-missing": """
MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 RANK=0 WORLD_SIZE=1 python -c 'import torch.distributed as d; d.init_process_group("nccl")'""",
    # -- Lightning
    # -- Accelerate and DeepSpeed
    "accelerate-config-keys": """
printf 'distributed_type: MULTI_GPU\nnum_processes: 8\nnew_key_of_a_later_release: 1\n' > accelerate_config.yaml
python -m accelerate.commands.launch --config_file accelerate_config.yaml train.py""",
    "accelerate-config-missing": """
python -m accelerate.commands.launch --config_file configs/fsdp.yaml train.py""",
    "accelerate-option-unknown": """
python -m accelerate.commands.launch --multi_gpu --num_process 8 train.py""",
    "accelerate-fsdp-options": """
python -m accelerate.commands.launch --use_fsdp --num_processes 2 --mixed_precision no --fsdp_cpu_ram_efficient_loading true --fsdp_sync_module_states '' train.py""",
    "deepspeed-local-rank": """
cat > train.py <<'PY'
import argparse
argparse.ArgumentParser().parse_args()
PY
python -m deepspeed.launcher.launch --world_info=$(printf '{"node0": [0]}' | base64) --master_addr=127.0.0.1 --master_port=29500 train.py""",
    # -- Lightning
    "fabric-launch-twice": """
cat > train.py <<'PY'
from lightning.fabric import Fabric
fabric = Fabric()
fabric.launch()
PY
fabric run --accelerator cpu --devices 2 train.py""",
    "fabric-click-missing": """
cat > sitecustomize.py <<'PY'
import importlib.metadata, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "click": raise ModuleNotFoundError("No module named 'click'", name="click")
sys.meta_path.insert(0, Missing())
real = importlib.metadata.distribution
def distribution(name):
    if name == "click": raise importlib.metadata.PackageNotFoundError(name)
    return real(name)
importlib.metadata.distribution = distribution
PY
PYTHONPATH=$PWD fabric run train.py""",
    "fabric-cuda-missing": """
python -c 'from lightning.fabric import Fabric; Fabric(accelerator="cuda", devices=2)'""",
    "trainer-world-size": """
cat > train.py <<'PY'
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
Trainer(accelerator="cpu", devices=4, num_nodes=1, strategy="ddp", max_steps=1, logger=False, enable_checkpointing=False).fit(BoringModel())
PY
torchrun --nproc-per-node 2 train.py""",
    "trainer-slurm-tasks": """
cat > train.py <<'PY'
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
Trainer(accelerator="cpu", devices=4, num_nodes=1, strategy="ddp", logger=False, enable_checkpointing=False).fit(BoringModel())
PY
mkdir bin && ln -s /bin/true bin/srun
PATH=$PWD/bin:$PATH SLURM_NTASKS=1 SLURM_NTASKS_PER_NODE=1 SLURM_JOB_NAME=train SLURM_JOB_ID=4711 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NNODES=1 SLURM_NODEID=0 SLURM_NODELIST=node0 python train.py""",
    "trainer-unused-parameters": """
cat > train.py <<'PY'
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
class Model(BoringModel):
    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Linear(2, 2)
Trainer(accelerator="cpu", devices=2, strategy="ddp", max_steps=4, logger=False, enable_checkpointing=False, enable_progress_bar=False).fit(Model())
PY
torchrun --nproc-per-node 2 train.py""",
    "lightning-member-missing": """
cat > train.py <<'PY'
from datetime import timedelta
from lightning.fabric import Fabric
from lightning.fabric.strategies import DDPStrategy
fabric = Fabric(accelerator="cpu", devices=1, num_nodes=2, strategy=DDPStrategy(timeout=timedelta(seconds=5)))
fabric.launch()
PY
MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 NODE_RANK=0 LOCAL_RANK=0 python train.py""",
    # -- nothing wrong
    "healthy-ddp": """
run 2 --tee 3 <<'PY'
from _job import *
rank = start()
net = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for step in range(20):
    loss = net(torch.randn(8, 4)).square().mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    print(f"epoch 0 step {step:3d} loss {loss.item():.4f} error {loss.item() ** .5:.3f} 123.4 images/s", flush=True)
dist.destroy_process_group()
PY""",
    "healthy-ignored": """
python - <<'PY'
import logging, sys
class Loader:
    def __del__(self): assert False, "can only test a child process"
loader = Loader()
del loader
stream = open("log.txt", "w")
logging.basicConfig(stream=stream)
stream.close()
logging.warning("epoch 1 loss 0.25")
print("done")
PY""",
    "healthy-lightning": """
cat > train.py <<'PY'
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False, enable_checkpointing=False).fit(BoringModel())
PY
torchrun --nproc-per-node 2 train.py""",
    "healthy-fabric": """
cat > train.py <<'PY'
import torch
from lightning.fabric import Fabric
fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
model = fabric.setup(torch.nn.Linear(2, 2))
fabric.print("val_loss=0.1342 timeout=1800 failed=0")
PY
fabric run --accelerator cpu --devices 2 train.py""",
}

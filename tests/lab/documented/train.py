import os
import sys
import time

rank = int(os.environ["RANK"])
epochs = int(sys.argv[sys.argv.index("--epochs") + 1]) if "--epochs" in sys.argv else 2
for epoch in range(1, min(epochs, 3) + 1):
    print(f"epoch {epoch}  loss {0.5 / (epoch + rank):.2f}", flush=True)
    time.sleep(0.1)

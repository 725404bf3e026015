import os
import time

if os.environ["RANK"] == "1":
    raise ValueError("bad sample 1847 in shard 12")
time.sleep(600)

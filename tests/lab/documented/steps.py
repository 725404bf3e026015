import time

for step in range(3000):
    print(f"step {step}  loss {1 / (step + 1):.2f}", flush=True)
    time.sleep(0.2)

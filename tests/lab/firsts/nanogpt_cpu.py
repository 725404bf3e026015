backend = "gloo"
device = "cpu"
batch_size = 4

"""The interfaces that carry the job: which one, its MTU, its speed."""

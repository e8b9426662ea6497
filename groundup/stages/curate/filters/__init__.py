"""Published quality filters: measured by compiled kernels on a shared split, decided by tables of limits."""

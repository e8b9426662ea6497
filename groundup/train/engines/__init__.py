"""How one optimizer step is carried out: plain PyTorch in any parallel layout, or another library."""

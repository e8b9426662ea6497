"""What a training stage will need, before it starts: memory, time, cost, energy, and a layout that fits."""

"""The polite crawler: pages asked for over the network, each only after its owner's permission was read."""

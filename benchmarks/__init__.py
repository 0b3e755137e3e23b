"""Side-by-side runs against peers: `python -m benchmarks.NAME [--json]`, one JSON object a line.

    {benchmark, case, kind: peer|limit|info, ours, peer, peer_value, ratio, unit}

A ratio above 1 always means that ours is better. Peers live in an environment of their own: `make bench-env`.
"""

"""AI cost optimization. On the path: the most that a call can cost, set aside before it goes out."""

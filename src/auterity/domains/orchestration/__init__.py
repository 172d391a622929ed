"""Model orchestration and routing. On the path: which deployments are tried, in which order?"""

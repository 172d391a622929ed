"""Enterprise AI governance. On the path: may this key use this model?"""

"""One module per model provider's wire format; the sandbox is one of them."""

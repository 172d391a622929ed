"""What every domain stands on: identity, tenancy, keys, models and prices, usage."""

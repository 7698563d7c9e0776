"""Events of the shipped contracts, one module a contract: real data first, in their order, then the same again later."""

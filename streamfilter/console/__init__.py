"""The live page: what comes, with stamps and masks, and what people say of it."""

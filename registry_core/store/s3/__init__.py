"""The registry's objects on S3-compatible storage, and what this machine keeps of them."""

"""The registry in a folder: objects, run folders, and how they are written durably."""

"""What training minimises (torch)."""

"""Published configurations and tensor names, mapped to ours and back."""

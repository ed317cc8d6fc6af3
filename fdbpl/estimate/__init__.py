"""What a build will take on this machine, told before it begins."""

"""What runs as it stands, from the root of this repository; no part of the wheel."""

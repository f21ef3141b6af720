"""Adapters: from what PEFT saved to the slots of one base, and between the forms they come in."""

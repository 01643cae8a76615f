"""Bytes from telematics hardware, instructions to roadside hardware; knows nothing of customs or zones."""

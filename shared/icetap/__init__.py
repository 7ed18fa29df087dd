"""The library that Icetap's taps and its loader stand on."""

"""What is fetched for a model: where it comes from, how it gets here, and what is kept of it.

::

    sources    what belongs to a model, and where it is published
    patience   what may fail for a while, tried again
    web        one answer of a server, or a range of a file; what went wrong, in one line
    header     the header of a safetensors file, read with mistrust, and cut down to some tensors
    download   ranges of a file into a partial file, resumed after whatever happened
    store      the checksums beside the files of the cache
    fetch      all of this for one file

No torch, no ROS; and no client library of the hub, which cannot take a few tensors out of a file,
keeps its files under names of its own, and checks no content against the hub's checksum.
"""

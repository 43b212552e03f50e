"""The recipe of Keller Jordan's airbench94_muon, 94 % in few epochs, for Keras and a few CPU cores.

The network is trained with the layers of this folder and registered with Keras's own layers.
Source: arXiv:2404.00498, and the record `airbench94_muon.py` of KellerJordan/cifar10-airbench.
"""

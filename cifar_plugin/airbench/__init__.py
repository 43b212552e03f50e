"""The recipe of Keller Jordan's airbench94_muon, 94 % in 8 epochs, for Keras and a few CPU cores.

The network is trained by layers of this folder and registered as a model of Keras's own layers.
Source: arXiv:2404.00498, and the record `airbench94_muon.py` of KellerJordan/cifar10-airbench.
"""

"""FedMA: match and average one group of units at a time, while the clients adapt the rest."""

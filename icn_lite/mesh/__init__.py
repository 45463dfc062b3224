"""CoAP between neighbours: endpoint, resources, transfer, discovery."""

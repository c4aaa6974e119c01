#!/bin/bash
# Makes cell0 known to Nova, or known as it is now. What is in braces each program fills in from its own nova.conf, which is that of the cell's
# database for conductors: so the database is named here.
set -o errexit
database='mysql+pymysql://{username}:{password}@192.0.2.250:3306/nova_cell0'
nova-manage cell_v2 map_cell0 --database_connection "$database"
# Programs of other cells have another user in theirs: so it is known with the one of this nova.conf.
nova-manage cell_v2 update_cell --cell_uuid 00000000-0000-0000-0000-000000000000 --transport-url none:/

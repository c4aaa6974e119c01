#!/bin/bash
# Makes the cell known to Nova, or known as it is now. A cell that kolla-ansible made has no name either, and is taken over.
set -o errexit -o pipefail
cells=$(nova-manage cell_v2 list_cells | awk -F '|' 'NF > 4 && $3 ~ /[0-9a-f]-/ && $3 !~ /00000000-0000-0000-0000-000000000000/ {gsub(/ /, "", $2); gsub(/ /, "", $3); if ($2 == "" || $2 == "None") print $3}')
# shellcheck disable=SC2086
set -- $cells
case $# in
  0) nova-manage cell_v2 create_cell ;;
  1) nova-manage cell_v2 update_cell --cell_uuid "$1" ;;
  *) echo "Nova knows $# cells without a name: $*. Remove those that are not in use with nova-manage cell_v2 delete_cell" >&2; exit 1 ;;
esac

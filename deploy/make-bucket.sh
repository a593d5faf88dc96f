#!/bin/sh
# Make the bucket at $BUCKET (http://HOST:PORT/NAME) unless it is there, as $STORAGE_ACCESS_KEY; waits a minute for the server.
set -eu
status=""
for _ in $(seq 60); do
    status=$(curl --silent --output /dev/null --write-out '%{http_code}' --request PUT --max-time 10 \
        --aws-sigv4 "aws:amz:${STORAGE_REGION:-us-east-1}:s3" \
        --user "$STORAGE_ACCESS_KEY:$STORAGE_SECRET_KEY" "$BUCKET" || true)
    case "$status" in
        200 | 409) exit 0 ;; # 409: it is there already
        4??) break ;;
    esac
    sleep 1
done
echo "the bucket $BUCKET could not be made: HTTP status ${status:-none}" >&2
exit 1

# A worker that mills: installs from the same constraints as everything else.
FROM python:3.11-slim-bookworm

RUN useradd --create-home miller && mkdir /store && chown miller /store
WORKDIR /quantmill
# The CPU build of torch is a few hundred megabytes, the default one several gigabytes: name an index that has it in
# TORCH_INDEX, or leave it empty for the default.
ARG TORCH_INDEX=""
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY catalog catalog
COPY flows flows
COPY quantizers quantizers
COPY adapters adapters
COPY gates gates
COPY publishers publishers
COPY quantmill quantmill
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint constraints.txt --editable .
COPY manifests manifests
USER miller

# A lost PREFECT_API_URL must fail, not start a server of its own inside the container.
ENV QUANTMILL_HOME=/store \
    PREFECT_SERVER_EPHEMERAL_ENABLED=false \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY=60 \
    DO_NOT_TRACK=1
VOLUME /store
CMD ["prefect", "worker", "start", "--pool", "quantmill", "--limit", "1", "--install-policy", "never"]

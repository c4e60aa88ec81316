# Rolewise with its page and API on port 7860. Two volumes hold all that is written: /data (indexes, logs,
# conversations) and /models; everything else may be read-only. docs/deploy.md tells how to run it.
FROM python:3.11-slim-bookworm AS build
# Where pip finds the CPU build of torch (see README.md); without it the usual one brings several GB for CUDA.
ARG TORCH_INDEX=""
WORKDIR /app
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY rag/__init__.py rag/
RUN if [ -n "$TORCH_INDEX" ]; then pip install --quiet --index-url "$TORCH_INDEX" torch==2.13.0; fi
RUN pip install --quiet -c constraints.txt -e .

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home rolewise && mkdir /data /models && chown rolewise:rolewise /data /models
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY app.py pyproject.toml constraints.txt README.md LICENSE ./
COPY rag rag
COPY eval eval
COPY prompts prompts
COPY index/sources index/sources
ENV PATH=/opt/venv/bin:$PATH PORT=7860 ROLEWISE_HOME=/data ROLEWISE_MODELS=/models MPLCONFIGDIR=/tmp
RUN python -m compileall -q rag eval app.py
ENV PYTHONDONTWRITEBYTECODE=1
USER rolewise
# Models to bring along, by name: --build-arg MODELS="all-MiniLM-L6-v2 qwen2.5-coder-1.5b". Others are pulled at the start.
ARG MODELS=""
RUN for model in $MODELS; do python -m rag models pull "$model"; done
VOLUME ["/data", "/models"]
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=10m CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=3); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
CMD ["sh", "-c", "python -m rag models pull all-MiniLM-L6-v2 && { [ -e $ROLEWISE_HOME/index/build/CURRENT ] || python -m rag index build; } && exec python -m rag serve --host 0.0.0.0 --port $PORT"]

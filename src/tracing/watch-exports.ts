import { ExportResultCode } from '@opentelemetry/core';
import type { SpanExporter } from '@opentelemetry/sdk-trace';

/** Who is told how exports go: once for each change, since a collector may be away for days. */
export interface ExportWatch {
  onFailing: (error: unknown) => void;
  onRecovered: () => void;
}

/** The exporter, with somebody told when it begins to fail and when it works again. */
export function watchExports(exporter: SpanExporter, { onFailing, onRecovered }: ExportWatch): SpanExporter {
  let isFailing = false;
  return {
    export(spans, done) {
      exporter.export(spans, (result) => {
        const failed = result.code === ExportResultCode.FAILED;
        if (failed && !isFailing) onFailing(result.error);
        if (!failed && isFailing) onRecovered();
        isFailing = failed;
        done(result);
      });
    },
    shutdown: async () => await exporter.shutdown(),
    forceFlush: async () => await exporter.forceFlush?.(),
  };
}

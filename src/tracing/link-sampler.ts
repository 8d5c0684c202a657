import { TraceFlags } from '@opentelemetry/api';
import { SamplingDecision, TraceIdRatioBasedSampler } from '@opentelemetry/sdk-trace';
import type { Sampler } from '@opentelemetry/sdk-trace';

/**
 * Decides for spans that begin a trace: one that follows from another trace is recorded as that one is, so that a retry is
 * never seen without its event nor the other way round; of the rest that share is, 0 to 1.
 */
export function createLinkSampler(share: number): Sampler {
  const byShare = new TraceIdRatioBasedSampler(share);
  return {
    shouldSample(context, traceId, ...[, , , links]) {
      const [origin] = links;
      if (origin === undefined) return byShare.shouldSample(context, traceId);
      const isSampled = (origin.context.traceFlags & TraceFlags.SAMPLED) !== 0;
      return { decision: isSampled ? SamplingDecision.RECORD_AND_SAMPLED : SamplingDecision.NOT_RECORD };
    },
    toString: () => `LinkSampler{${share}}`,
  };
}

/** Which Kubernetes Events tell of a reason: on the Service that a VIP leads to, and on the ConfigMap where there is none. */
import type { Problem, ReasonCode, ServiceKey } from '../model/cluster.ts';
import type { EventReason, EventReporter, EventSubject } from '../observe/kubernetes/events.ts';
import type { ReasonChange } from '../observe/reasons.ts';

/** Nobody looks for Events of one VIP in more places. */
const mostServices = 10;
/** What a VIP shares with its virtual services is told by these; that a director stops as planned is nothing that a Service lacks. */
const untold: ReadonlySet<ReasonCode> = new Set(['NoEndpoints', 'AwaitingNode', 'BgpDraining']);

export class ReasonEvents {
  readonly #reporter: Pick<EventReporter, 'report'>;
  readonly #configMap: Pick<EventSubject, 'namespace' | 'name'>;
  /** Where the reason of a subject was reported. */
  readonly #reported = new Map<string, readonly EventSubject[]>();

  constructor(reporter: Pick<EventReporter, 'report'>, configMap: Pick<EventSubject, 'namespace' | 'name'>) {
    this.#reporter = reporter;
    this.#configMap = configMap;
  }

  change(change: ReasonChange): void {
    const { subject, reason } = change;
    const id = subject.kind === 'vip' ? `vip ${subject.address}` : subject.key;
    const subjects = reason === undefined ? [] : this.#subjectsOf(change, id);
    for (const old of this.#reported.get(id) ?? []) {
      if (!subjects.some(({ kind, namespace, name }) => kind === old.kind && namespace === old.namespace && name === old.name))
        this.#reporter.report(old, undefined);
    }
    if (subjects.length === 0) this.#reported.delete(id);
    else this.#reported.set(id, subjects);
    if (reason === undefined) return;
    const { code, message } = reason;
    const event: EventReason = { code, message: `${id}: ${message}`, type: code === 'AwaitingNode' ? 'Normal' : 'Warning' };
    for (const one of subjects) this.#reporter.report(one, event);
  }

  /** Undefined: the newest configuration is in force. */
  refused(problems: readonly Problem[] | undefined): void {
    const subject: EventSubject = { kind: 'ConfigMap', ...this.#configMap, matter: 'configuration' };
    const [first] = problems ?? [];
    if (problems === undefined || first === undefined) {
      this.#reporter.report(subject, undefined);
      return;
    }
    const more = problems.length === 1 ? '' : ` (and ${problems.length - 1} more)`;
    const message = `${first.path === '' ? '' : `${first.path}: `}${first.message}${more}; the last good configuration stays in force`;
    this.#reporter.report(subject, { code: 'ConfigurationRefused', message });
  }

  #subjectsOf({ subject, reason, state }: ReasonChange, matter: string): EventSubject[] {
    if (subject.kind === 'vip') {
      if (reason !== undefined && untold.has(reason.code)) return [];
      const there = subject.services.filter((service) => state.services.has(service)).slice(0, mostServices);
      return there.length === 0 ? [this.#onConfigMap(matter)] : there.map((service) => onService(service, matter));
    }
    return [state.services.has(subject.service) ? onService(subject.service, matter) : this.#onConfigMap(matter)];
  }

  #onConfigMap(matter: string): EventSubject {
    return { kind: 'ConfigMap', ...this.#configMap, matter };
  }
}

function onService(key: ServiceKey, matter: string): EventSubject {
  const [namespace = '', name = ''] = key.split('/');
  return { kind: 'Service', namespace, name, matter };
}
